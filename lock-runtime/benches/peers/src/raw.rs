//! The floor: the two commands that a lock is made of, and nothing else.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisResult, Script, cmd};
use uuid::Uuid;

use crate::contender::{Contender, Pair, TTL};

/// Compare and delete, as short as it gets.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// `SET key token NX PX ttl`, then a compare-and-delete by `EVALSHA`.
///
/// On the connection that our own store makes: multiplexed, without delay in TCP, and without a timeout of the client's.
/// There is none around the commands either, nor anything that would notice a lost lease: nobody can do with less.
pub struct Raw {
    connection: MultiplexedConnection,
    hash: String,
}

impl Raw {
    /// Connects, and has the server remember the script.
    ///
    /// # Errors
    ///
    /// The client's.
    pub async fn connect(url: &str) -> RedisResult<Self> {
        Self::connect_by(url, TcpSettings::default().set_nodelay(true)).await
    }

    /// As [`connect`](Self::connect), for [`RawWithDelay`].
    ///
    /// # Errors
    ///
    /// The client's.
    pub async fn connect_with_delay(url: &str) -> RedisResult<Self> {
        Self::connect_by(url, TcpSettings::default()).await
    }

    async fn connect_by(url: &str, settings: TcpSettings) -> RedisResult<Self> {
        let address = url.into_connection_info()?.set_tcp_settings(settings);
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = Client::open(address)?.get_multiplexed_async_connection_with_config(&config).await?;
        let hash = Script::new(RELEASE).prepare_invoke().load_async(&mut connection).await?;
        Ok(Self { connection, hash })
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

impl Contender for Raw {
    type Pair = RawPair;

    fn name(&self) -> &'static str {
        "raw SET + EVALSHA"
    }

    fn task(&self, number: u32) -> RawPair {
        RawPair { connection: self.connection.clone(), hash: self.hash.clone(), key: format!("raw:{number}") }
    }
}

/// As [`Raw`], with the delay that TCP has by default, and the peers have too: what is sent while an answer is awaited goes
/// out together. That is a gain where round trips cost nothing, as here, and a round trip lost where they do not.
#[derive(Debug)]
pub struct RawWithDelay(
    /// Connected [with it](Raw::connect_with_delay).
    pub Raw,
);

impl Contender for RawWithDelay {
    type Pair = RawPair;

    fn name(&self) -> &'static str {
        "raw, with TCP's delay"
    }

    fn task(&self, number: u32) -> RawPair {
        RawPair { key: format!("delay:{number}"), ..self.0.task(number) }
    }
}

/// See [`Raw`].
pub struct RawPair {
    connection: MultiplexedConnection,
    hash: String,
    key: String,
}

impl Pair for RawPair {
    async fn once(&mut self) {
        let Self { connection, hash, key } = self;
        let mut buffer = [0; 32];
        let token = &*Uuid::new_v4().simple().encode_lower(&mut buffer);
        let ttl = u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX);
        let set = cmd("SET").arg(&*key).arg(token).arg("NX").arg("PX").arg(ttl).query_async::<bool>(connection).await;
        assert!(set.expect("an answer"), "the key is free");
        let deleted = cmd("EVALSHA").arg(&*hash).arg(1).arg(&*key).arg(token).query_async::<bool>(connection).await;
        assert!(deleted.expect("an answer"), "the key is ours");
    }
}

impl std::fmt::Debug for RawPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawPair").field("key", &self.key).finish_non_exhaustive()
    }
}
