//! One run: the scene, the nemesis, and the reading of what happens.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use lock_tests::{Proxy, RedisServer, machine_time};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::check::{Finding, Found, Sort, check, leftovers};
use crate::history::{DataLoss, History, Lines, Tally};
use crate::nemesis::{Over, Place, Scene, lock, start};
use crate::record::{HoldId, Unreadable, whole_lines};
use crate::report::Report;
use crate::resource::Resource;
use crate::schedule::{Fault, Schedule, Size};
use crate::topology::{Servers, Topology};
use crate::watched::Broken;
use crate::worker::{self, LONGEST_BLOCK, LONGEST_HOLD, LONGEST_TTL, LONGEST_WAIT, Orders};
use crate::{KEYS, PROCESSES, TASKS, key_name};

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the run follows from.
    pub seed: u64,
    /// For how long things go wrong.
    pub length: Duration,
    /// The faults.
    pub deck: Vec<Fault>,
    /// What is wrong with the workers' store.
    pub broken: Option<Broken>,
    /// Ends the run as soon as it is found; any finding, if there is none.
    pub wanted: Option<Sort>,
    /// In what time everybody has to have had a last turn when the nemesis has ended; what can be promised, if there is none.
    pub patience: Option<Duration>,
    /// What the locks are on. The faults befall one of its servers at a time.
    pub topology: Topology,
    /// The program of the workers: `lock-soak`.
    pub program: PathBuf,
}

impl Options {
    /// A minute of every fault.
    #[must_use]
    pub fn new(seed: u64, program: PathBuf) -> Self {
        let (topology, deck) = (Topology::One, Topology::One.faults());
        Self {
            seed,
            length: Duration::from_secs(60),
            deck,
            broken: None,
            wanted: None,
            patience: None,
            topology,
            program,
        }
    }

    /// The same with locks on something else, of which one server is in trouble at a time: now this one, now that.
    #[must_use]
    pub fn on(mut self, topology: Topology) -> Self {
        (self.topology, self.deck) = (topology, topology.faults());
        // On a majority, whoever waits asks again after a random pause, and may be unlucky.
        self.patience = (!topology.keeps_line()).then(|| 2 * patience());
        self
    }

    /// The same with a store that is broken, and the faults that bring it out.
    #[must_use]
    pub fn broken(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self.deck = broken.faults().to_vec();
        self
    }

    /// The faults that can befall what the locks are on.
    fn deck(&self) -> Vec<Fault> {
        let possible = self.topology.faults();
        self.deck.iter().copied().filter(|fault| possible.contains(fault)).collect()
    }

    fn patience(&self) -> Duration {
        self.patience.unwrap_or_else(patience)
    }
}

/// From one look at the logs to the next.
const TICK: Duration = Duration::from_millis(200);

/// How far back the checks look.
const MEMORY: Duration = Duration::from_secs(30);

/// How long one operation may take in the end, on a connection that has turned out to be dead: twice a second for the connection
/// and a second for the answer.
const OPERATION: Duration = Duration::from_secs(4);

/// The longest time for which a lock is free, or kept for somebody in vain, while others wait for it: a second for whoever it was
/// granted to and who does not confirm, and another until somebody in line asks.
const TURN: Duration = Duration::from_secs(2);

/// The time in which everybody has to have had the last turn, once nothing goes wrong any more.
fn patience() -> Duration {
    // What is going on: a call that has just begun to wait, gets the lock, holds it and gives it back; on a thread that each of the
    // neighbours blocks once.
    let tasks = u32::try_from(TASKS).unwrap_or(u32::MAX);
    let call = LONGEST_WAIT + OPERATION + LONGEST_TTL * LONGEST_HOLD + OPERATION + tasks * LONGEST_BLOCK;
    // Then the last turns, all of one key in the worst case in a row, behind a lock whose holder was killed.
    let waiting = u32::try_from((PROCESSES * TASKS).div_ceil(KEYS)).unwrap_or(u32::MAX);
    call + OPERATION + LONGEST_TTL + waiting * TURN
}

/// The least number of holds that prove something, in a second of the run.
const HOLDS_PER_SECOND: u64 = 3;

/// The least number of locks that were handed to somebody in line, in a second of the run.
const HANDED_PER_SECOND: u64 = 1;

/// Runs the soak.
///
/// # Panics
///
/// When its own machinery fails: servers that do not start, logs that cannot be read.
#[must_use]
pub fn run(options: &Options) -> Report {
    let directory = tempfile::Builder::new().prefix("lock-soak-").tempdir().expect("a temporary directory");
    let resource = RedisServer::start();
    let network = Runtime::new().expect("a runtime");
    let servers = options.topology.start(&network);
    let names: Vec<_> = (0..KEYS).map(key_name).collect();
    let has_keys = |number: usize| !servers.keys_at(number, &names).is_empty();
    assert!((0..options.topology.masters()).all(has_keys), "each of the servers has keys");
    let proxies_before = |server: &RedisServer| {
        let before = |_| network.block_on(Proxy::start(server.port()));
        (0..PROCESSES).map(before).collect::<Vec<_>>()
    };
    let proxies: Vec<Vec<Proxy>> = match &servers {
        Servers::Apart(servers) => servers.iter().map(proxies_before).collect(),
        Servers::Cluster(_) | Servers::Sentinel(_) => Vec::new(),
    };
    let locks = |place: usize| match &servers {
        Servers::Apart(_) => proxies.iter().map(|before| before[place].url()).collect(),
        Servers::Cluster(cluster) => vec![cluster.url()],
        Servers::Sentinel(sentinels) => vec![sentinels.url()],
    };
    let place = |place: usize| {
        let orders = Orders {
            locks: locks(place),
            resource: resource.url(),
            directory: directory.path().to_owned(),
            seed: options.seed,
            place,
            life: 0,
            broken: options.broken,
        };
        Mutex::new(Place { process: start(&options.program, &orders), vacant: false, orders, dead: Vec::new() })
    };
    let places = (0..PROCESSES).map(place).collect();
    let scene = Scene {
        places,
        program: options.program.clone(),
        servers: Mutex::new(servers),
        proxies,
        data_losses: Mutex::default(),
        fired: Mutex::default(),
        over: Over::default(),
    };
    let mut watch = Watch {
        options,
        scene: &scene,
        resource: Resource::connect(&resource.url()).expect("the resource"),
        history: History::default(),
        logs: BTreeMap::new(),
        clocks: Clocks::now(),
        excused: BTreeSet::new(),
        findings: Vec::new(),
        late: Vec::new(),
    };
    let size = Size { processes: PROCESSES, keys: KEYS, servers: options.topology.masters() };
    let schedule = Schedule::new(options.seed, options.length, &options.deck(), size);
    let started = Instant::now();
    let drained = std::thread::scope(|threads| {
        let lanes = [&schedule.clients, &schedule.server]
            .map(|steps| threads.spawn(|| scene.run(steps, started, options.length)));
        let going_on = || started.elapsed() < options.length || lanes.iter().any(|lane| !lane.is_finished());
        while !watch.has_found() && !scene.over.is_told() && going_on() {
            watch.tick();
            watch.all_have_ended(false);
        }
        scene.over.tell();
        for lane in lanes {
            lane.join().expect("the nemesis has not failed");
        }
        (!watch.has_found()).then(|| watch.drain(&directory))
    });
    watch.finish(drained, directory)
}

/// Reads what happens.
struct Watch<'a> {
    options: &'a Options,
    scene: &'a Scene,
    resource: Resource,
    history: History,
    logs: BTreeMap<PathBuf, Reading>,
    clocks: Clocks,
    /// Overlaps that a loss of data explains.
    excused: BTreeSet<(HoldId, HoldId)>,
    findings: Vec<Finding>,
    /// What only the end of the run has shown.
    late: Vec<Finding>,
}

/// A log that is being read.
struct Reading {
    file: File,
    unread: Vec<u8>,
}

/// The machine's clock and the one of the day, at about the same time: Redis counts by the latter.
#[derive(Clone, Copy)]
struct Clocks {
    machine: Duration,
    day: SystemTime,
}

impl Clocks {
    fn now() -> Self {
        loop {
            let before = machine_time();
            let clocks = Self { day: SystemTime::now(), machine: machine_time() };
            // Both within this, or this thread had to wait between them.
            if clocks.machine.saturating_sub(before) < Duration::from_micros(200) {
                return clocks;
            }
        }
    }

    /// Whether the clock of the day was set since `earlier`, or runs at another rate than is allowed for.
    fn differ_since(&self, earlier: &Self) -> bool {
        let machine = self.machine.saturating_sub(earlier.machine);
        let day = self.day.duration_since(earlier.day).unwrap_or_default();
        // Only forwards: a lock that the server keeps for too long harms nobody's exclusion.
        day > machine + machine / 100 + Duration::from_millis(2)
    }
}

impl Watch<'_> {
    /// Looks at everything that is new. The time that passed; where this process was stopped itself, not all of it.
    fn tick(&mut self) -> Duration {
        let started = Instant::now();
        std::thread::sleep(TICK);
        self.look();
        started.elapsed().min(5 * TICK)
    }

    fn look(&mut self) {
        self.watch_clocks();
        for place in &self.scene.places {
            let (orders, dead) = {
                let mut place = lock(place);
                (place.orders.clone(), std::mem::take(&mut place.dead))
            };
            for dead in dead {
                read(&mut self.logs, &mut self.history, dead.log());
                self.history.close(dead.place, dead.life);
                self.logs.remove(&dead.log());
                std::fs::remove_file(dead.log()).or_else(ignore_missing).expect("remove a log");
            }
            read(&mut self.logs, &mut self.history, orders.log());
        }
        for write in self.resource.take_writes().expect("the resource") {
            self.history.add_write(write);
        }
        // After the logs: whatever a loss has caused is later than its name in this list.
        self.history.data_losses.clone_from(&lock(&self.scene.data_losses));
        let verdict = check(&self.history);
        self.findings = verdict.findings;
        self.excused.extend(verdict.excused_overlaps);
        if !self.has_found() {
            self.history.forget(machine_time().saturating_sub(MEMORY));
        }
    }

    /// The promise has a proviso: the server's clock is not set forwards. If it is, that is as if data were lost.
    fn watch_clocks(&mut self) {
        let now = Clocks::now();
        if now.differ_since(&self.clocks) {
            let loss = DataLoss { key: None, from: self.clocks.machine, until: Some(now.machine) };
            lock(&self.scene.data_losses).push(loss);
        }
        self.clocks = now;
    }

    /// Whether all workers have ended by themselves. They have to, with success, when they were told to, and not before.
    fn all_have_ended(&mut self, told: bool) -> bool {
        let mut running = 0;
        for place in &self.scene.places {
            let mut place = lock(place);
            match place.process.try_status() {
                _ if place.vacant => {}
                None => running += 1,
                Some(status) if told && status.success() => {}
                Some(status) => {
                    let (number, output) = (place.orders.place, place.process.output());
                    let what = format!("worker {number} ended by itself with {status}: {output}");
                    self.history.unexpected.push(what);
                    // Said once.
                    place.vacant = true;
                }
            }
        }
        running == 0
    }

    /// Lets everybody have a last turn, now that nothing goes wrong any more; then no lock may be left.
    fn drain(&mut self, directory: &TempDir) -> Duration {
        std::fs::write(worker::last_turns(directory.path()), "").expect("room for a file");
        let mut passed = Duration::ZERO;
        while !self.all_have_ended(true) {
            if passed > self.options.patience() {
                self.unserved(passed);
                return passed;
            }
            passed += self.tick();
        }
        self.look();
        let mut left = LONGEST_TTL + TURN;
        let leftovers = loop {
            let leftovers = self.leftovers();
            if leftovers.is_empty() || left.is_zero() {
                break leftovers;
            }
            left = left.saturating_sub(self.tick());
        };
        self.late.extend(leftovers);
        self.add_up();
        passed
    }

    fn unserved(&mut self, passed: Duration) {
        for place in &self.scene.places {
            let mut place = lock(place);
            if place.process.try_status().is_none() {
                let (number, output) = (place.orders.place, place.process.output());
                let turns = self.history.tally.last_turns;
                let what = format!(
                    "worker {number} has not ended {passed:?} after the nemesis had ({turns} last turns in all): {output}"
                );
                self.late.push(Finding::Unserved { what });
            }
        }
    }

    fn leftovers(&self) -> Vec<Finding> {
        let mut found: Vec<Found> = Vec::new();
        for mut admin in (0..self.scene.masters().len()).map(|server| self.scene.admin(server)) {
            let names = admin.keys();
            let here = names.into_iter().map(|name| {
                let left = admin.command(&["PTTL", &name]);
                (name, left)
            });
            // Those that have expired since.
            found.extend(here.filter(|(_, left)| *left != -2));
        }
        // Everybody has had a turn, at each of the keys, behind whoever left a line by dying.
        let ours: Vec<_> = (0..KEYS).map(key_name).collect();
        // In a cluster, letters that take it to the slot of its key are in the name of a line.
        let is_line = |name: &str| name.ends_with(":lock_runtime:q1");
        leftovers(&found, |name| is_line(name) || ours.iter().any(|ours| ours == name), "lock_runtime:fence")
    }

    /// The counters themselves: they show as many writes as were noted, if none was written over.
    fn add_up(&mut self) {
        let Tally { plain_writes, plain_writes_over, fenced_writes, .. } = self.history.tally;
        for (fenced, writes, lost) in [(false, plain_writes, plain_writes_over), (true, fenced_writes, 0)] {
            let values = (0..KEYS).map(|key| self.resource.value(key, fenced).expect("the resource"));
            let sum = values.sum::<i64>();
            if lost == 0 && u64::try_from(sum) != Ok(writes) {
                let what = format!("the counters (fenced: {fenced}) show {sum} after {writes} writes");
                self.late.push(Finding::Unexpected { what });
            }
        }
    }

    fn finish(mut self, drained: Option<Duration>, directory: TempDir) -> Report {
        let fired = lock(&self.scene.fired).clone();
        let Options { seed, length, broken, .. } = self.options;
        if drained.is_some() {
            let least = HOLDS_PER_SECOND * length.as_secs();
            let holds = self.history.tally.holds;
            if holds < least {
                self.late.push(Finding::Idle { what: format!("{holds} holds, of at least {least}") });
            }
            if self.options.topology.keeps_line() {
                self.late.extend(idle_lines(&self.history.tally.lines, length.as_secs()));
            }
            // In a minute every fault has its turn.
            let deck = self.options.deck();
            let missing = deck.iter().filter(|fault| *length >= Duration::from_secs(60) && !fired.contains_key(fault));
            self.late
                .extend(missing.map(|fault| Finding::Idle { what: format!("this fault never happened: {fault}") }));
        }
        let findings = [self.findings, self.late].concat();
        // For whoever looks into it.
        let logs = (!findings.is_empty() && broken.is_none()).then(|| directory.keep());
        let lost_data = self.history.data_losses.len();
        Report {
            seed: *seed,
            length: *length,
            broken: *broken,
            topology: self.options.topology,
            tally: self.history.tally,
            fired,
            lost_data,
            excused_overlaps: self.excused.len(),
            findings,
            drained,
            patience: self.options.patience(),
            logs,
        }
    }

    fn has_found(&self) -> bool {
        match self.options.wanted {
            Some(wanted) => self.findings.iter().any(|finding| finding.sort() == wanted),
            None => !self.findings.is_empty(),
        }
    }
}

/// What did not happen in line, and has to, or the run proves nothing of it.
fn idle_lines(lines: &Lines, seconds: u64) -> Vec<Finding> {
    let Lines { called, asked_again, passed_on, missed, .. } = *lines;
    let least = HANDED_PER_SECOND * seconds;
    // Nothing has to go wrong in a second or two.
    let once = u64::from(seconds >= 60);
    let wanted = [
        ("locks handed to somebody in line", called, least),
        ("questions how a place in line stood", asked_again, once),
        ("places in line that went from one task to another", passed_on, once),
        ("calls that came to nothing", missed, once),
    ];
    let idle = wanted.into_iter().filter(|(_, times, least)| times < least);
    idle.map(|(what, times, least)| Finding::Idle { what: format!("{times} {what}, of at least {least}") }).collect()
}

/// Reads what was written to a log since the last time.
fn read(logs: &mut BTreeMap<PathBuf, Reading>, history: &mut History, path: PathBuf) {
    let reading = match logs.entry(path) {
        Entry::Occupied(reading) => reading.into_mut(),
        Entry::Vacant(place) => match File::open(place.key()) {
            Ok(file) => place.insert(Reading { file, unread: Vec::new() }),
            // The worker has not come that far.
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => panic!("a worker's log: {error}"),
        },
    };
    reading.file.read_to_end(&mut reading.unread).expect("a worker's log");
    for line in whole_lines(&mut reading.unread) {
        let record = line.parse().unwrap_or_else(|Unreadable| panic!("no line of a log: {line}"));
        history.add(record);
    }
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
