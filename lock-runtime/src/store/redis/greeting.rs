//! The beginning of a connection: in the newer protocol if the server has it, for in the older one it cannot call us.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, RedisError};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::address::Address;
use super::handoff::give_back_ghost;
use super::notes::Wire;
use super::pool::Pool;
use super::pulse::Pulse;
use super::reply::Fault;
use super::stream;
use crate::error::{StoreError, StoreErrorKind};

impl Pool {
    /// Connects, in the newer protocol if the server has it: in the older one it cannot call us.
    pub(super) async fn greet(
        self: &Arc<Self>,
        address: &Address,
        wire: &Arc<Wire>,
        pulse: &Arc<Pulse>,
        runtime: &Handle,
    ) -> Result<(MultiplexedConnection, AbortHandle, ProtocolVersion), StoreError> {
        let refused = |error: RedisError| Fault::read_greeting(&error, address.name()).into_error();
        let protocol = self.learned.protocol();
        let error = match self.connect(address, protocol, wire, pulse, runtime).await? {
            Ok((connection, driver)) => {
                if protocol.supports_resp3() {
                    self.learned.speaks_resp3();
                }
                return Ok((connection, driver, protocol));
            }
            Err(error) => error,
        };
        let names_itself = address.user().password().is_some();
        let unknown = is_protocol_unknown(&error, address.name(), names_itself);
        // Something between us and the server may hang up on what it does not know.
        let hung_up =
            error.is_connection_dropped() && !error.is_connection_refusal() && !self.learned.has_spoken_resp3();
        if !protocol.supports_resp3() || !unknown && !hung_up {
            return Err(refused(error));
        }
        let (connection, driver) =
            self.connect(address, ProtocolVersion::RESP2, wire, pulse, runtime).await?.map_err(refused)?;
        if unknown {
            self.learned.speaks_resp2_only();
        }
        self.learned
            .tell(address.name(), &"it does not speak RESP3, the protocol in which a server can call its clients");
        Ok((connection, driver, ProtocolVersion::RESP2))
    }

    async fn connect(
        self: &Arc<Self>,
        address: &Address,
        protocol: ProtocolVersion,
        wire: &Arc<Wire>,
        pulse: &Arc<Pulse>,
        runtime: &Handle,
    ) -> Result<Result<(MultiplexedConnection, AbortHandle), RedisError>, StoreError> {
        let user = address.user().set_protocol(protocol);
        // We keep the time: a timeout of the client's own would tell us less.
        let mut config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        if protocol.supports_resp3() {
            config = config.set_push_sender(self.reader(wire, runtime));
        }
        let unheard = self.timeouts.operation.saturating_mul(4).min(Duration::from_secs(60 * 60));
        without_panic(async {
            let stream = stream::connect(address, unheard, pulse.clone()).await?;
            let (connection, driver) = MultiplexedConnection::new_with_config(&user, stream, config).await?;
            let driver = runtime.spawn(driver).abort_handle();
            wire.is_driven_by(driver.clone());
            Ok((connection, driver))
        })
        .await
    }

    /// What reads the notes that come in on a connection: on the task that drives it, which must not wait for anything.
    fn reader(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        runtime: &Handle,
    ) -> impl Fn(PushInfo) -> Result<(), SendError> + use<> {
        let (pool, notes, wire, runtime) = (Arc::downgrade(self), self.notes.clone(), wire.clone(), runtime.clone());
        move |push| {
            if let Some(ghost) = notes.read(&wire, &push)
                && let Some(pool) = pool.upgrade()
            {
                runtime.spawn(give_back_ghost(pool, ghost));
            }
            Ok(())
        }
    }
}

/// Whether the server said that it does not know the protocol of our greeting: in words of its own, unless it is a Redis.
/// `names_itself`: the greeting has a password in it.
fn is_protocol_unknown(error: &RedisError, server: &str, names_itself: bool) -> bool {
    match (error.code(), Fault::read(error, server)) {
        (Some("NOPERM"), _) => true,
        // Of a wrong password it is said that it is wrong. Valkey says this of every command that it does not know.
        (Some("NOAUTH"), _) => names_itself,
        (Some(_), fault @ Fault::Answered { .. }) => fault.refused().is_none(),
        _ => error.kind() == ErrorKind::RESP3NotSupported,
    }
}

/// `future`, with a panic turned into an error: a runtime without I/O panics in the middle of dialling.
async fn without_panic<T>(future: impl Future<Output = T>) -> Result<T, StoreError> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(StoreError::new(
                StoreErrorKind::Runtime,
                "locks in Redis need a tokio runtime with I/O: call `enable_all()` on its builder",
            ))),
        }
    })
    .await
}
