//! What the locks are there to protect: counters that are read, and written a while later, on a server of their own that nobody
//! molests.
//!
//! Each counter is there twice: once as a resource that takes every write, and once as one that knows fencing tokens. Both note
//! on what each write was based and what was there, so that an update which is written over is seen in the moment when it is
//! lost, whoever is killed right after.

use std::str::SplitWhitespace;
use std::time::Duration;

use redis::{Client, Connection, RedisResult, cmd};

use crate::history::{Write, Writer};
use crate::record::{HoldId, Unreadable, time, word};

/// Writes one more than was read, whatever is there, and notes it.
const WRITE: &str = "
local counter = redis.call('HMGET', KEYS[1], 'value', 'hold', 'look')
redis.call('RPUSH', KEYS[2], table.concat({ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], counter[1] or '0',
    counter[2] or '-', counter[3] or '0'}, ' '))
redis.call('HSET', KEYS[1], 'value', ARGV[5] + 1, 'hold', ARGV[3], 'look', ARGV[4])
return 1
";

/// Lets nobody in who is later than somebody who was here. To read is to be here: what is read is the base of a write.
const PASS: &str = "
if tonumber(redis.call('HGET', KEYS[1], 'token') or 0) > tonumber(ARGV[6]) then return -1 end
redis.call('HSET', KEYS[1], 'token', ARGV[6])
";

const READ: &str = "return tonumber(redis.call('HGET', KEYS[1], 'value') or 0)";

/// A connection to the resource, without timeouts: a process that is stopped while it waits for an answer gets it later.
pub struct Resource {
    connection: Connection,
}

impl Resource {
    /// Connects to the server of the resource.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn connect(url: &str) -> RedisResult<Self> {
        Ok(Self { connection: Client::open(url)?.get_connection()? })
    }

    /// Reads the counter; `None` if there is a token and it is too low.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn read(&mut self, key: usize, fence: Option<i64>) -> RedisResult<Option<i64>> {
        let nobody = Writer { hold: HoldId { place: 0, life: 0, number: 0 }, look: Duration::ZERO };
        let value = self.run(READ, key, fence, nobody, 0)?;
        Ok(Some(value).filter(|value| *value >= 0))
    }

    /// Writes one more than `base`, what was read. `false` if there is a token and it is too low.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn write(&mut self, key: usize, fence: Option<i64>, by: Writer, base: i64) -> RedisResult<bool> {
        Ok(self.run(WRITE, key, fence, by, base)? == 1)
    }

    fn run(&mut self, script: &str, key: usize, fence: Option<i64>, by: Writer, base: i64) -> RedisResult<i64> {
        let (sort, pass) = if fence.is_some() { ("fenced", PASS) } else { ("plain", "") };
        let mut command = cmd("EVAL");
        command.arg(format!("{pass}{script}")).arg(2).arg(format!("{sort}:{key}")).arg("writes");
        command.arg(key).arg(sort).arg(by.hold.to_string()).arg(by.look.as_nanos().to_string()).arg(base);
        command.arg(fence.unwrap_or_default()).query(&mut self.connection)
    }

    /// The writes since the last time.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Panics
    ///
    /// When somebody else has written there.
    pub fn take_writes(&mut self) -> RedisResult<Vec<Write>> {
        let mut writes = Vec::new();
        loop {
            let some: Option<Vec<String>> = cmd("LPOP").arg("writes").arg(1000).query(&mut self.connection)?;
            let Some(some) = some else { return Ok(writes) };
            writes.extend(some.iter().map(|line| read(line).unwrap_or_else(|Unreadable| panic!("no write: {line}"))));
        }
    }

    /// The value of the counter.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn value(&mut self, key: usize, fenced: bool) -> RedisResult<i64> {
        let sort = if fenced { "fenced" } else { "plain" };
        let value: Option<i64> = cmd("HGET").arg(format!("{sort}:{key}")).arg("value").query(&mut self.connection)?;
        Ok(value.unwrap_or_default())
    }
}

fn read(line: &str) -> Result<Write, Unreadable> {
    let words = &mut line.split_whitespace();
    let writer = |words: &mut SplitWhitespace<'_>| Ok(Writer { hold: word(words)?, look: time(words)? });
    Ok(Write {
        key: word(words)?,
        fenced: word::<String>(words)? == "fenced",
        by: writer(words)?,
        base: word(words)?,
        found: word(words)?,
        // There is none before the first.
        before: writer(words).ok(),
    })
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resource").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use lock_tests::RedisServer;

    use super::*;

    fn writer(number: u64) -> Writer {
        let look = Duration::from_nanos(1_234_567_890_123_456_789 + number);
        Writer { hold: HoldId { place: 1, life: 2, number }, look }
    }

    /// What the checker relies on: a write over what was not read shows, and a late token is refused from the moment at which a
    /// higher one was seen.
    #[test]
    fn the_resource_notes_what_it_is_told() {
        let server = RedisServer::start();
        let mut resource = Resource::connect(&server.url()).expect("connect");
        assert_eq!(resource.read(7, None), Ok(Some(0)));
        assert_eq!(resource.write(7, None, writer(1), 0), Ok(true));
        assert_eq!(resource.write(7, None, writer(2), 0), Ok(true));
        let write = |by, base, found, before, fenced| Write { key: 7, fenced, by, base, found, before };
        let writes = resource.take_writes().expect("writes");
        assert_eq!(writes, [write(writer(1), 0, 0, None, false), write(writer(2), 0, 1, Some(writer(1)), false),]);

        assert_eq!(resource.read(7, Some(33)), Ok(Some(0)));
        assert_eq!(resource.read(7, Some(34)), Ok(Some(0)), "another counter");
        assert_eq!(resource.write(7, Some(33), writer(3), 0), Ok(false), "34 was here");
        assert_eq!(resource.read(7, Some(33)), Ok(None));
        assert_eq!(resource.write(7, Some(34), writer(4), 0), Ok(true));
        assert_eq!(resource.take_writes(), Ok(vec![write(writer(4), 0, 0, None, true)]));
        assert_eq!((resource.value(7, true), resource.value(7, false)), (Ok(1), Ok(1)));
    }
}
