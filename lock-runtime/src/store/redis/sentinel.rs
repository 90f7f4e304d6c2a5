//! The master that sentinels watch: asked for each time that a connection is made, since it may have changed.

mod heard;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, FromRedisValue, ProtocolVersion, RedisError, RedisResult, Value, from_redis_value, pipe,
};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub(super) use self::heard::Looks;
use self::heard::{Heard, Master};
use super::address::Address;
use super::link::Link;
use super::pulse::Pulse;
use super::reply::Fault;
use super::stream;
use crate::clock::boottime;
use crate::error::{SetupError, StoreError, StoreErrorKind};
use crate::store::join_all;
use crate::timer;

/// The sentinels that watch one master.
#[derive(Clone)]
pub(super) struct Sentinels {
    /// At least one.
    each: Vec<Address>,
    /// What they call the master.
    master: Arc<str>,
    /// In common to all connections of a store, on whatever runtimes: what one of them has heard all know.
    heard: Arc<Mutex<Heard>>,
}

/// What one of them is being asked.
type Asking = Pin<Box<dyn Future<Output = Result<Master, StoreError>> + Send>>;

impl Sentinels {
    pub(super) fn new(each: Vec<Address>, master: &str) -> Result<Self, SetupError> {
        if each.is_empty() {
            return Err(SetupError::Address { reason: "it names no sentinel".into() });
        }
        if master.is_empty() {
            return Err(SetupError::Address { reason: "it does not say what the sentinels call the master".into() });
        }
        Ok(Self { each, master: master.into(), heard: Arc::default() })
    }

    pub(super) fn master(&self) -> &str {
        &self.master
    }

    /// Has connections to the sentinels encrypted, too.
    #[cfg(feature = "tls")]
    pub(super) fn encrypt(&mut self, tls: &super::tls::Tls) {
        self.each.iter_mut().for_each(|sentinel| sentinel.encrypt(tls.clone()));
    }

    /// Where the master is. All sentinels are asked at once, until a majority has answered or `limit` is over, and the one that
    /// has heard of the latest failover is believed: one that was cut off from the others names a master of the past.
    pub(super) async fn locate(&self, limit: Duration, runtime: &Handle) -> Result<(String, u16), StoreError> {
        self.ask(self.each.len() / 2 + 1, limit, runtime).await
    }

    async fn ask(&self, enough: usize, limit: Duration, runtime: &Handle) -> Result<(String, u16), StoreError> {
        let ask = |sentinel: &Address| -> Asking {
            Box::pin(ask(sentinel.clone(), self.master.clone(), limit, runtime.clone()))
        };
        let mut asking: Vec<Asking> = self.each.iter().map(ask).collect();
        let (mut known, mut failed) = (Vec::new(), Vec::new());
        let asked = timer::timeout(
            limit,
            poll_fn(|cx| {
                asking.retain_mut(|asking| match asking.as_mut().poll(cx) {
                    Poll::Pending => true,
                    Poll::Ready(Ok(master)) => {
                        known.push(master);
                        false
                    }
                    Poll::Ready(Err(error)) => {
                        failed.push(error);
                        false
                    }
                });
                if known.len() >= enough || asking.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            }),
        )?;
        // Whoever has not answered by then does not count.
        let _ = asked.await;
        let is_majority = known.len() > self.each.len() / 2;
        let Some(found) = known.into_iter().max_by_key(|master| master.epoch) else {
            return Err(self.nobody_knows(&failed, limit));
        };
        let (Master { host, port, .. }, left) = self.heard().hear(found, is_majority, boottime());
        // Wakers are foreign code: never under the lock.
        left.iter().filter_map(Weak::upgrade).for_each(|link| link.break_off());
        Ok((host, port))
    }

    /// Has the connection `link` given up as soon as any connection of the store hears of another master than the one at `host`
    /// and `port`, to which it is. `false`: that has happened already.
    pub(super) fn follow(&self, link: &Arc<Link>, host: &str, port: u16) -> bool {
        self.heard().follow(Arc::downgrade(link), host, port)
    }

    /// No code that can panic runs under this mutex, so a poisoned one still holds whole data.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nobody_knows(&self, failed: &[StoreError], limit: Duration) -> StoreError {
        let said: Vec<_> = failed.iter().map(ToString::to_string).collect();
        let said = if said.is_empty() { format!("none answered within {limit:?}") } else { said.join("; ") };
        let kind = failed.iter().find(|error| error.is_transient()).or(failed.first());
        let kind = kind.map_or(StoreErrorKind::Timeout, StoreError::kind);
        StoreError::new(kind, format!("no sentinel names the master `{}`: {said}", self.master))
    }
}

/// How often the sentinels are asked whether the master is still the same, where none of them says that it is another.
const LOOK: Duration = Duration::from_secs(2);

/// What sentinels say when they make another server the master: the one that does so, and all of them.
const CHANGES: [&str; 2] = ["+promoted-slave", "+switch-master"];

/// Looks at what the sentinels say while `link` is used, which is given up when they name another master. The old one is not told
/// at once, or is cut off from them and from its replicas, and not from us: it would go on granting locks that nobody else hears of.
pub(super) async fn watch(link: &Weak<Link>, address: &Address, looks: &Looks, limit: Duration, runtime: &Handle) {
    let Some(sentinels) = address.sentinels() else { return };
    let change = Arc::new(Notify::new());
    let mut ears: Vec<Option<Ear>> = sentinels.each.iter().map(|_| None).collect();
    loop {
        let deaf = ears.iter_mut().zip(&sentinels.each).filter(|(ear, _)| ear.as_ref().is_none_or(Ear::is_deaf));
        join_all(deaf.map(|(ear, sentinel)| async {
            if let Ok(listening) = timer::timeout(limit, listen(sentinel, change.clone(), runtime.clone())) {
                *ear = listening.await.ok().and_then(Result::ok);
            }
        }))
        .await;
        if let Ok(hearing) = timer::timeout(LOOK, change.notified()) {
            // Heard or not, it is time to look.
            let _ = hearing.await;
        }
        if link.upgrade().is_none_or(|link| link.is_broken()) {
            return;
        }
        // All of them, for the one that replaces a master knows it first. Where none answers, nothing is known.
        let _ = sentinels.ask(sentinels.each.len(), limit, runtime).await;
        looks.look();
    }
}

/// A connection on which a sentinel says what changes.
struct Ear {
    _connection: MultiplexedConnection,
    driver: EndsWithUs,
}

impl Ear {
    fn is_deaf(&self) -> bool {
        self.driver.0.is_finished()
    }
}

/// Has a sentinel say what changes.
async fn listen(sentinel: &Address, change: Arc<Notify>, runtime: Handle) -> Result<Ear, RedisError> {
    let stream = stream::connect(sentinel, LOOK, Pulse::new(LOOK)).await?;
    let user = sentinel.user().set_protocol(ProtocolVersion::RESP3);
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = config.set_push_sender(move |_| -> Result<(), SendError> {
        change.notify_one();
        Ok(())
    });
    let (mut connection, driver) = MultiplexedConnection::new_with_config(&user, stream, config).await?;
    let driver = EndsWithUs(runtime.spawn(driver).abort_handle());
    connection.subscribe(&CHANGES).await?;
    Ok(Ear { _connection: connection, driver })
}

/// Asks one sentinel.
async fn ask(sentinel: Address, master: Arc<str>, limit: Duration, runtime: Handle) -> Result<Master, StoreError> {
    let name = sentinel.name().to_owned();
    let silent = |error: RedisError| Fault::read(&error, &format!("{name} (a sentinel)")).into_error();
    let stream = stream::connect(&sentinel, limit, Pulse::new(limit)).await.map_err(|error| silent(error.into()))?;
    // It has nothing to call us for.
    let user = sentinel.user().set_protocol(ProtocolVersion::RESP2);
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let (mut connection, driver) =
        MultiplexedConnection::new_with_config(&user, stream, config).await.map_err(silent)?;
    let _driver = EndsWithUs(runtime.spawn(driver).abort_handle());
    // While it replaces the master, it names the new one by the first, and knows by the second which failover that is.
    let mut questions = pipe();
    questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&*master);
    questions.cmd("SENTINEL").arg("MASTER").arg(&*master);
    let answers = connection.send_packed_commands(&questions, 0, 2).await.map_err(silent)?;
    let [named, known] = <[Value; 2]>::try_from(answers).map_err(|_| no_sentinel(&name))?;
    let named: Option<(String, u16)> = named.extract_error().and_then(answer).map_err(silent)?;
    let Some((host, port)) = named else { return Err(not_watched(&name)) };
    let known: HashMap<String, String> = known.extract_error().and_then(answer).map_err(silent)?;
    let epoch = known.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    Ok(Master { host, port, epoch })
}

fn answer<T: FromRedisValue>(value: Value) -> RedisResult<T> {
    from_redis_value(value).map_err(RedisError::from)
}

fn no_sentinel(server: &str) -> StoreError {
    let text = format!("redis at {server} gave an answer that no sentinel gives; is it one?");
    StoreError::new(StoreErrorKind::Protocol, text)
}

fn not_watched(sentinel: &str) -> StoreError {
    let text = format!("the sentinel at {sentinel} watches no master of this name");
    StoreError::new(StoreErrorKind::Denied, text)
}

/// The task that drives a connection which is used once.
struct EndsWithUs(AbortHandle);

impl Drop for EndsWithUs {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database][?sentinel_user=…&sentinel_password=…]`
/// names: an address whose server the sentinels know. `None`: it is of no sentinels.
pub(super) fn read(url: &str) -> Option<Result<Address, SetupError>> {
    let (scheme, rest) = url.split_once("://")?;
    Some(read_rest(scheme.strip_suffix("+sentinel")?, rest))
}

fn read_rest(scheme: &str, rest: &str) -> Result<Address, SetupError> {
    let unusable = |reason: &'static str| SetupError::Address { reason: reason.into() };
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut user, mut password) = ("", "");
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sentinel_user", name)) => user = name,
            Some(("sentinel_password", word)) => password = word,
            // Not the option itself: it may be a password.
            _ => return Err(unusable("it has an option other than `sentinel_user` and `sentinel_password`")),
        }
    }
    let (who, rest) = rest.rsplit_once('@').map_or((String::new(), rest), |(who, rest)| (format!("{who}@"), rest));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    let as_themselves =
        if user.is_empty() && password.is_empty() { String::new() } else { format!("{user}:{password}@") };
    let each = hosts.split(',').filter(|host| !host.is_empty());
    let each: Vec<Address> =
        each.map(|host| sentinel(&format!("{scheme}://{as_themselves}{host}"))).collect::<Result<_, _>>()?;
    let sentinels = Sentinels::new(each, master)?;
    // Whatever stands for the host: the master is where the sentinels say.
    Ok(Address::read(&format!("{scheme}://{who}master/{database}"))?.watched_by(sentinels))
}

/// The address of one sentinel, which has a port of its own where the URL names none.
pub(super) fn sentinel(url: &str) -> Result<Address, SetupError> {
    let url = url.trim_end_matches('/');
    let host = url.rsplit(['@', '/']).next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'));
    if has_port { Address::read(url) } else { Address::read(&format!("{url}:26379")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_sentinels_and_master() {
        let url = "redis+sentinel://bob:s3cret@a.example,b.example:5000,[::1]/mymaster/3?sentinel_password=w%20rd";
        let address = read(url).expect("of sentinels").expect("a good URL");
        assert_eq!(address.name(), "the master `mymaster`");
        let user = address.user();
        assert_eq!((user.username(), user.password(), user.db()), (Some("bob"), Some("s3cret"), 3));
        let sentinels = address.sentinels().expect("sentinels");
        let names: Vec<_> = sentinels.each.iter().map(Address::name).collect();
        assert_eq!(names, ["a.example:26379", "b.example:5000", "::1:26379"]);
        assert_eq!(sentinels.each[0].user().password(), Some("w rd"));
        assert!(read("redis://a.example/0").is_none());
    }

    #[test]
    fn what_is_missing_is_told() {
        for (url, missing) in [
            ("redis+sentinel://a.example", "what the sentinels call the master"),
            ("redis+sentinel:///mymaster", "names no sentinel"),
            ("redis+sentinel://a.example/mymaster?password=s3cret", "`sentinel_password`"),
            ("ftp+sentinel://a.example/mymaster", "scheme"),
        ] {
            let error = read(url).expect("of sentinels").err().expect("something is missing").to_string();
            assert!(error.contains(missing) && !error.contains("s3cret"), "{url}: {error}");
        }
    }
}
