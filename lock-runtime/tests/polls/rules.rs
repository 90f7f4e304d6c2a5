//! What was asked and answered, and the rules: they are looked at with every step.

use std::task::Waker;
use std::time::Duration;

use lock_runtime::{Moment, Token};

use crate::call::Way;
use crate::schedule::Schedule;

/// The TTL of every lock here.
pub(crate) const TTL: Duration = Duration::from_millis(300);

/// For how long a release waits for what was asked before it, as `guard.rs` has it.
const ORDER: Duration = Duration::from_millis(100);

/// What the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Acquire,
    /// By the call, for so long.
    Extend(Duration),
    /// By the task in the background, for so long.
    Renew(Duration),
    Release,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done.
    Yes,
    /// It is somebody else's.
    No,
    /// Whether it was done is not known.
    Unknown,
}

/// A request, from being sent until its answer is taken or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    /// The number of its hold.
    hold: usize,
    pub(crate) sent: Moment,
    pub(crate) answer: Option<Answer>,
    pub(crate) waker: Option<Waker>,
    pub(crate) is_over: bool,
}

impl Asked {
    pub(crate) fn waits_for_an_answer(&self) -> bool {
        !self.is_over && self.answer.is_none()
    }
}

/// What is to be known of one claim, by what the store was asked and what it answered.
#[derive(Debug)]
struct Hold {
    token: Token,
    /// Set when it is granted.
    until: Option<Moment>,
    /// In which step the store denied it.
    denied: Option<usize>,
    /// What the store said to the release.
    released: Option<Answer>,
    abandoned: usize,
    /// How its lease was when it was given back, by a release or a clean-up.
    good_at_its_end: Option<bool>,
}

impl Hold {
    /// Whether the lock may be believed in: this tells again, in a line, what `lease.rs` says.
    fn is_good(&self, now: Moment) -> bool {
        self.denied.is_none() && self.until.is_some_and(|until| now < until)
    }

    /// Whether the store said what became of the release.
    fn is_settled(&self) -> bool {
        matches!(self.released, Some(Answer::Yes | Answer::No))
    }

    fn is_given_back(&self) -> bool {
        self.good_at_its_end.is_some()
    }
}

/// What is known of the body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) begun: usize,
    pub(crate) dropped: usize,
    /// When it was dropped.
    dropped_at: Moment,
    /// Set while it waits for something of its own.
    pub(crate) waker: Option<Waker>,
    pub(crate) panicked: bool,
    /// Set when it ended by itself.
    pub(crate) ended: Option<Ended>,
}

/// The end of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Its lease was good then.
    pub(crate) in_time: bool,
    pub(crate) failed: bool,
}

impl Body {
    fn is_alive(&self) -> bool {
        self.begun > self.dropped
    }
}

/// What happened, for the report of a failure.
#[derive(Debug)]
#[expect(dead_code, reason = "read by `Debug`")]
pub(crate) enum Note {
    Step(&'static str),
    Sent(Question),
    Answered(Question, Answer),
    Abandoned,
    Clock(Duration),
    Body(&'static str),
}

/// What changes from step to step.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) schedule: Schedule,
    pub(crate) now: Moment,
    /// How far the timers have come.
    pub(crate) timers: Moment,
    pub(crate) asked: Vec<Asked>,
    holds: Vec<Hold>,
    pub(crate) body: Body,
    way: Way,
    /// Whether the background may have something to do.
    pub(crate) background_is_due: bool,
    /// Set while the call is being polled: what happens meanwhile happens on other threads.
    pub(crate) call_is_polled: bool,
    /// How many steps there were.
    pub(crate) steps: usize,
    pub(crate) notes: Vec<Note>,
    pub(crate) broken: Option<&'static str>,
}

impl State {
    pub(crate) fn new(schedule: Schedule, way: Way) -> Self {
        // Not at the origin of the clock: what is counted from another moment than it should be is not to end up there too.
        let start = Moment::from_origin(Duration::from_secs(1));
        Self {
            schedule,
            now: start,
            timers: start,
            asked: Vec::new(),
            holds: Vec::new(),
            body: Body::default(),
            way,
            background_is_due: false,
            call_is_polled: false,
            steps: 0,
            notes: Vec::new(),
            broken: None,
        }
    }

    fn rule(&mut self, rule: &'static str, is_kept: bool) {
        if !is_kept && self.broken.is_none() {
            self.broken = Some(rule);
        }
    }

    /// The hold whose body runs, or that is to be given back: the latest that was granted.
    fn granted(&self) -> Option<&Hold> {
        self.holds.iter().rfind(|hold| hold.until.is_some())
    }

    /// Whether that may be believed in.
    pub(crate) fn is_good(&self) -> bool {
        self.granted().is_some_and(|hold| hold.is_good(self.now))
    }

    /// Whether a lock was won.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted().is_some()
    }

    /// How much is left of what was granted last.
    pub(crate) fn left(&self) -> Duration {
        self.granted().and_then(|hold| hold.until).map_or(Duration::ZERO, |until| until.since(self.now))
    }

    /// The place of the first request to which there is no answer yet.
    pub(crate) fn unanswered(&self) -> Option<usize> {
        self.asked.iter().position(Asked::waits_for_an_answer)
    }

    pub(crate) fn has_renewed(&self) -> bool {
        self.asked.iter().any(|asked| asked.is_over && matches!(asked.question, Question::Renew(_)))
    }

    fn is_extending(&self, hold: usize) -> bool {
        self.asked.iter().any(|asked| {
            asked.hold == hold && !asked.is_over && matches!(asked.question, Question::Extend(_) | Question::Renew(_))
        })
    }

    /// Something is asked: the rules, and its place.
    pub(crate) fn send(&mut self, question: Question, token: &Token) -> usize {
        self.notes.push(Note::Sent(question));
        let (now, body_is_alive) = (self.now, self.body.is_alive());
        let known = self.holds.iter().position(|hold| hold.token == *token);
        let number = known.unwrap_or(self.holds.len());
        if known.is_none() {
            self.rule("nothing is asked about a claim that was never asked for", question == Question::Acquire);
            let token = token.clone();
            self.holds.push(Hold {
                token,
                until: None,
                denied: None,
                released: None,
                abandoned: 0,
                good_at_its_end: None,
            });
        }
        match question {
            Question::Acquire => self.rule("every acquisition has a token of its own", known.is_none()),
            Question::Extend(_) | Question::Renew(_) => {
                let hold = &self.holds[number];
                // Between a denial that was just read and the note that is taken of it, another thread may come.
                let (given_back, good) = (hold.is_given_back(), hold.is_good(now) || hold.denied == Some(self.steps));
                self.rule("nothing is sent behind a release", !given_back);
                self.rule("what is lost is not extended", good);
            }
            Question::Release => {
                let waited = now.since(self.body.dropped_at) >= ORDER;
                let in_order = !self.is_extending(number) || waited || !self.holds[number].is_good(now);
                self.rule("a release waits for the extensions before it", in_order);
                self.rule("the body is dropped before the release is sent", !body_is_alive);
                let hold = &mut self.holds[number];
                let before = hold.good_at_its_end.replace(hold.is_good(now));
                self.rule("one release for each acquisition", before.is_none());
            }
        }
        let (hold, sent) = (number, now);
        self.asked.push(Asked { question, hold, sent, answer: None, waker: None, is_over: false });
        self.asked.len() - 1
    }

    /// A clean-up is begun.
    pub(crate) fn abandon(&mut self, token: &Token) {
        self.notes.push(Note::Abandoned);
        let (now, body_is_alive) = (self.now, self.body.is_alive());
        self.rule("the body is dropped before its lock is given back", !body_is_alive);
        let hold = self.holds.iter_mut().find(|hold| hold.token == *token);
        let settled = hold.is_none_or(|hold| {
            hold.abandoned += 1;
            hold.good_at_its_end.get_or_insert(hold.is_good(now));
            hold.abandoned > 1 || hold.is_settled() || hold.until.is_none()
        });
        self.rule("one clean-up, of what was granted and is not settled", !settled);
    }

    /// The answer to the request at `place` is taken.
    pub(crate) fn take(&mut self, place: usize, answer: Answer) {
        let asked = &mut self.asked[place];
        asked.is_over = true;
        let (question, sent, now) = (asked.question, asked.sent, self.now);
        let hold = &mut self.holds[asked.hold];
        let lease = |ttl: Duration| sent.plus(ttl.saturating_sub(ttl / 100 + Duration::from_millis(2)));
        match (question, answer) {
            (Question::Acquire, Answer::Yes) => hold.until = Some(lease(TTL)),
            (Question::Extend(ttl) | Question::Renew(ttl), Answer::Yes) if hold.is_good(now) => {
                hold.until = hold.until.max(Some(lease(ttl)));
            }
            (Question::Extend(_) | Question::Renew(_), Answer::No) => hold.denied = hold.denied.or(Some(self.steps)),
            (Question::Release, answer) => hold.released = Some(answer),
            _ => {}
        }
    }

    /// The body is polled.
    pub(crate) fn body_polled(&mut self) {
        let may = self.is_good() || self.way.may_be_polled_without_a_lease() && self.granted().is_some();
        self.rule("the body is polled under a good lease", may);
        self.body.waker = None;
    }

    /// The body ends by itself.
    pub(crate) fn body_ended(&mut self, failed: bool) {
        self.body.ended = Some(Ended { in_time: self.is_good(), failed });
    }

    pub(crate) fn body_dropped(&mut self) {
        self.body.dropped += 1;
        self.body.dropped_at = self.now;
        let once = self.body.dropped <= self.body.begun;
        self.rule("the body is dropped once", once);
    }

    /// Whether it was given back after it was lost.
    pub(crate) fn was_lost(&self) -> bool {
        self.granted().is_some_and(|hold| hold.good_at_its_end == Some(false))
    }

    /// What the store said to the release, if it was waited for.
    pub(crate) fn released(&self) -> Option<Answer> {
        self.granted().and_then(|hold| hold.released)
    }

    /// What has to be so whenever the call waits and nobody has woken it.
    pub(crate) fn look_at_a_waiting_call(&mut self) {
        let taken = self
            .asked
            .iter()
            .all(|asked| asked.is_over || asked.answer.is_none() || matches!(asked.question, Question::Renew(_)));
        self.rule("an answer wakes who waits for it", taken);
        let Some(number) = self.holds.iter().rposition(|hold| hold.until.is_some()) else { return };
        let hold = &self.holds[number];
        if self.body.is_alive() && self.way.ends_with_the_lease() {
            let expired = hold.until.is_some_and(|until| until <= self.timers);
            let (denied, given_back) = (hold.denied.is_some(), hold.is_given_back());
            self.rule("a loss that is told wakes the body", !denied);
            self.rule("the end of the lease wakes the body", !expired);
            self.rule("the lock is held while the body lives", !given_back);
        }
        if self.body.begun > 0 && !self.body.is_alive() {
            let waits = self.holds[number].is_given_back() || self.is_extending(number);
            self.rule("after the body, only what is under way keeps the release waiting", waits);
        }
    }

    /// What has to be so at the end, when every request was answered.
    pub(crate) fn look_at_the_end(&mut self) {
        let settled = self
            .holds
            .iter()
            .filter(|hold| hold.until.is_some())
            .all(|hold| hold.abandoned + usize::from(hold.is_settled()) == 1);
        self.rule("every acquisition is settled, by a release that was answered or a clean-up", settled);
        let dropped = self.body.begun == self.body.dropped;
        self.rule("the body is dropped", dropped);
    }
}
