//! A look at the server from outside: a plain connection, without the code under test.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use redis::{Client, Connection, FromRedisValue, RedisResult, cmd};

/// Longer than any healthy server needs, short enough for a test that asks one which hangs.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// A synchronous connection. Each method panics when the server does not answer it.
pub struct Admin {
    connection: Connection,
}

impl Admin {
    pub(crate) fn connect(url: &str, timeout: Duration) -> RedisResult<Self> {
        let connection = Client::open(url)?.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(Self { connection })
    }

    /// Connects to the server at `url`.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self::connect(url, TIMEOUT).unwrap_or_else(|error| panic!("connect to the test's server: {error}"))
    }

    /// The server's process id, as the server says it.
    pub(crate) fn process_id(&mut self) -> RedisResult<i32> {
        let info: String = cmd("INFO").arg("server").query(&mut self.connection)?;
        let id = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap_or_default();
        Ok(id.trim().parse().unwrap_or_default())
    }

    /// Sends any command.
    ///
    /// # Panics
    ///
    /// When the server answers with an error, or not at all.
    pub fn command<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Sends any command, which the server may refuse.
    ///
    /// # Errors
    ///
    /// What the server says, or that it says nothing.
    ///
    /// # Panics
    ///
    /// When there is no command.
    pub fn try_command<T: FromRedisValue>(&mut self, words: &[&str]) -> RedisResult<T> {
        let (name, arguments) = words.split_first().expect("a command");
        cmd(name).arg(arguments).query(&mut self.connection)
    }

    /// GET
    pub fn get(&mut self, key: &str) -> Option<String> {
        self.command(&["GET", key])
    }

    /// SET, with the words that follow the value: `PX`, `1000`.
    pub fn set(&mut self, key: &str, value: &str, options: &[&str]) {
        let words: Vec<&str> = ["SET", key, value].iter().chain(options).copied().collect();
        self.command::<()>(&words);
    }

    /// Writes as a resource does that knows fencing tokens: not for a token lower than one that it has seen. Whether it was
    /// written.
    pub fn write_fenced(&mut self, key: &str, token: i64, value: &str) -> bool {
        const WRITE: &str = "if tonumber(redis.call('HGET', KEYS[1], 'token') or 0) > tonumber(ARGV[1]) then return 0 end \
                             redis.call('HSET', KEYS[1], 'token', ARGV[1], 'value', ARGV[2]) return 1";
        self.command(&["EVAL", WRITE, "1", key, &token.to_string(), value])
    }

    /// DEL: whether there was something.
    pub fn delete(&mut self, key: &str) -> bool {
        self.command(&["DEL", key])
    }

    /// EXISTS
    pub fn exists(&mut self, key: &str) -> bool {
        self.command(&["EXISTS", key])
    }

    /// PTTL: `None` when the key is not there, or has no expiry.
    pub fn remaining(&mut self, key: &str) -> Option<Duration> {
        let milliseconds: i64 = self.command(&["PTTL", key]);
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    }

    /// Every key of the database.
    pub fn keys(&mut self) -> Vec<String> {
        self.command(&["KEYS", "*"])
    }

    /// CONFIG SET
    pub fn configure(&mut self, parameter: &str, value: &str) {
        self.command::<()>(&["CONFIG", "SET", parameter, value]);
    }

    /// SCRIPT FLUSH: the server forgets every script.
    pub fn forget_scripts(&mut self) {
        self.command::<()>(&["SCRIPT", "FLUSH"]);
    }

    /// How often each command was executed since the start: `INFO commandstats`.
    pub fn command_counts(&mut self) -> HashMap<String, u64> {
        let info: String = self.command(&["INFO", "commandstats"]);
        info.lines().filter_map(command_count).collect()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// `cmdstat_set:calls=3,usec=…` is `("set", 3)`.
fn command_count(line: &str) -> Option<(String, u64)> {
    let (command, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let calls = figures.strip_prefix("calls=")?.split(',').next()?;
    Some((command.to_owned(), calls.parse().ok()?))
}
