//! What goes over the wire, word for word: versions of this library that share keys must agree on it, and so must every other
//! program that looks at them. Row 60 of the fault matrix.
//!
//! If one of these tests fails, what is written has changed. Old and new versions then misunderstand each other: the line's name
//! has a version, which has to be another one from there on; and a lock's own value can hardly be changed at all.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use lock_runtime::{LockGuard, LockManager, LockRequest};
use lock_tests::{Admin, RedisServer, eventually};

const KEY: &str = "golden";
const LINE: &str = "golden:lock_runtime:q1";
const TTL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// Everything that the server is asked, `MONITOR`.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn start(server: &RedisServer) -> Self {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("connect");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.write_all(b"MONITOR\r\n").expect("sent");
        let mut monitor = Self(BufReader::new(stream));
        assert_eq!(monitor.line(), "+OK");
        monitor
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server tells");
        line.trim_end().to_owned()
    }

    /// The commands until now, each by its words; what a script does, behind a `>`.
    fn commands(&mut self, admin: &mut Admin) -> Vec<Vec<String>> {
        admin.command::<String>(&["ECHO", "until here"]);
        let mut commands = Vec::new();
        loop {
            let line = self.line();
            // +1790000000.000000 [0 127.0.0.1:40000] "GET" "key"
            let (from, command) = line.split_once("] ").expect("a client and a command");
            let mut words: Vec<String> = command.trim_matches('"').split("\" \"").map(str::to_owned).collect();
            words[0].make_ascii_uppercase();
            if words == ["ECHO", "until here"] {
                return commands;
            }
            if from.ends_with(" lua") {
                words.insert(0, ">".to_owned());
            }
            commands.push(words);
        }
    }
}

/// Gives names to what is new every time, in the order in which it comes: `T1` to tokens, `C1` to connections.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// The lines that matter, as they are written down below.
    fn transcript(&mut self, commands: &[Vec<String>]) -> Vec<String> {
        commands.iter().filter_map(|words| self.line(words)).collect()
    }

    /// Scripts are known by what they do: what they are told is between them and us.
    fn line(&mut self, words: &[String]) -> Option<String> {
        let name = words.iter().find(|word| *word != ">")?;
        let matters = matches!(name.as_str(), "SET" | "PEXPIRE" | "DEL" | "RPUSH" | "LPOP" | "LREM" | "PUBLISH");
        matters.then(|| words.iter().map(|word| self.word(word)).collect::<Vec<_>>().join(" | "))
    }

    /// A word with names in the place of what is new every time.
    fn word(&mut self, word: &str) -> String {
        let named = |part: &str| {
            let (kind, id) = part.strip_prefix("lock_runtime:").map_or(("T", part), |id| ("C", id));
            let (before, id) = id.strip_prefix("floor:").map_or(("", id), |id| ("floor:", id));
            let is_new = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_new {
                return part.to_owned();
            }
            let number = self.0.values().filter(|name| name.starts_with(kind)).count() + 1;
            let name = self.0.entry(id.to_owned()).or_insert_with(|| format!("{kind}{number}")).clone();
            if kind == "C" { format!("lock_runtime:{name}") } else { format!("{before}{name}") }
        };
        let parts: Vec<_> = word.split(' ').map(named).collect();
        parts.join(" ")
    }
}

fn request(locks: &LockManager, metadata: &str) -> LockRequest {
    locks.lock(KEY).ttl(TTL).wait(TTL).metadata(metadata)
}

/// Has `second` line up behind `first`, and take the lock over from it.
async fn hand_over(first: LockGuard, second: LockRequest, admin: &mut Admin) -> LockGuard {
    let waiting = tokio::spawn(second.acquire());
    eventually("it is in line", SOON, || admin.exists(LINE)).await;
    first.release().await.expect("ours");
    tokio::time::timeout(SOON, waiting).await.expect("soon").expect("no panic").expect("the lock")
}

/// Promise: what a lock, a line, an entry and a note look like is the same in every version that shares keys with others.
///
/// Turned red by: any change of a key, a value, an entry or a note, or of what they are given to expire after.
#[tokio::test]
async fn row_60_what_is_written_stays_the_same() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = [0; 2].map(|_| LockManager::connect_lazy(&server.url()).expect("a good address"));
    // So that no script is sent twice, by its hash and by its text.
    for locks in &locks {
        locks.self_test().await.expect("nothing is wrong");
    }
    let mut monitor = Monitor::start(&server);
    let guard = request(&locks[0], "one two").acquire().await.expect("free");
    let guard = hand_over(guard, request(&locks[1], "ünï").fence(), &mut admin).await;
    guard.release().await.expect("ours");
    let guard = request(&locks[0], "").min_hold(TTL).acquire().await.expect("free");
    guard.release().await.expect("ours");

    let commands = monitor.commands(&mut admin);
    // Times of day, and what is left of the time for which a lock is kept.
    let numbers = |line: String| {
        let (rest, number) = line.rsplit_once(" | ").expect("several words");
        match rest {
            "> | SET | lock_runtime:fence" => {
                assert!(number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_digit()), "{number}");
                format!("{rest} | MICROSECONDS")
            }
            rest if rest.contains("floor:") => {
                assert!(number.parse::<u64>().is_ok_and(|left| left > 30_000 && left <= 60_000), "{number}");
                format!("{rest} | LEFT")
            }
            _ => line,
        }
    };
    let transcript: Vec<_> = Names::default().transcript(&commands).into_iter().map(numbers).collect();
    let expected = [
        // Acquired.
        "SET | golden | T1 one two | NX | PX | 60000",
        // In line.
        "> | RPUSH | golden:lock_runtime:q1 | 1000 lock_runtime:C1 T2 \\xc3\\xbcn\\xc3\\xaf",
        "> | PEXPIRE | golden:lock_runtime:q1 | 60000",
        // Handed over.
        "> | PUBLISH | lock_runtime:C1 | T2 golden",
        "> | LPOP | golden:lock_runtime:q1",
        "> | SET | golden | T2 \\xc3\\xbcn\\xc3\\xaf | PX | 1000",
        // Confirmed, with a fencing token.
        "> | SET | lock_runtime:fence | MICROSECONDS",
        "> | PEXPIRE | golden | 60000",
        // Given back.
        "> | DEL | golden",
        // Acquired without a name, and kept when it was given back.
        "SET | golden | T3 | NX | PX | 60000",
        "> | SET | golden | floor:T4 | PX | LEFT",
    ];
    assert_eq!(transcript, expected, "{transcript:#?}");
}

/// Promise: an entry that another version has written as above is understood: the lock is granted to it for its own time, and it is
/// told where it wants to be told, by its token and the key.
///
/// Turned red by: a release that looks for something else in an entry.
#[tokio::test]
async fn row_60_what_others_have_written_is_understood() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    let token = "0123456789abcdef0123456789abcdef";
    let channel = "lock_runtime:of-another-version";
    let guard = request(&locks, "").acquire().await.expect("free");
    let mut other = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("connect"));
    other.get_ref().set_read_timeout(Some(SOON)).expect("a timeout");
    other.get_mut().write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes()).expect("sent");
    eventually("it listens", SOON, || admin.command::<(String, u64)>(&["PUBSUB", "NUMSUB", channel]).1 == 1).await;
    admin.command::<()>(&["RPUSH", LINE, &format!("2500 {channel} {token} their name")]);
    guard.release().await.expect("ours");
    assert_eq!(admin.get(KEY), Some(format!("{token} their name")));
    let left = admin.remaining(KEY).expect("granted for a while");
    assert!(left > Duration::from_secs(1) && left <= Duration::from_millis(2500), "{left:?}");
    assert!(!admin.exists(LINE));
    let note = format!("{token} {KEY}\r\n");
    let told = (0..20).any(|_| {
        let mut line = String::new();
        other.read_line(&mut line).expect("the server tells");
        line == note
    });
    assert!(told, "by its token and the key");

    // It is a holder as good as ours, whose end is waited for.
    let waiting = tokio::spawn(request(&locks, "").acquire());
    eventually("it is in line", SOON, || admin.exists(LINE)).await;
    assert!(admin.delete(KEY));
    let guard = tokio::time::timeout(SOON, waiting).await.expect("soon").expect("no panic").expect("the lock");
    guard.release().await.expect("ours");
}
