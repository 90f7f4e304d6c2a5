//! Where a server is, and who we are to it: looked up each time that a connection is made, since both may change.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use tokio::runtime::Handle;

use super::link::Link;
use super::sentinel::Sentinels;
use crate::error::{SetupError, StoreError, StoreErrorKind};

/// A user of the server, and its password.
#[derive(Clone)]
pub struct Credentials {
    user: Option<String>,
    password: String,
}

impl Credentials {
    /// Of the user `user`.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Some(user.into()), password: password.into() }
    }

    /// Of the default user, which is the only one before Redis 6.
    pub fn password(password: impl Into<String>) -> Self {
        Self { user: None, password: password.into() }
    }
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

pub(super) type Provider = Arc<dyn Fn() -> Credentials + Send + Sync>;

/// The address of a server.
#[derive(Clone)]
pub(super) struct Address {
    server: ConnectionInfo,
    /// For people to read.
    name: String,
    credentials: Option<Provider>,
    /// Who knows where the server is, if that may change.
    sentinels: Option<Sentinels>,
    /// How connections are encrypted, if they are.
    #[cfg(feature = "tls")]
    tls: Option<super::tls::Tls>,
}

/// Why an address cannot be used. Never the address itself: it may hold a password.
fn unusable(reason: &'static str) -> SetupError {
    SetupError::Address { reason: reason.into() }
}

impl Address {
    /// Reads a URL.
    pub(super) fn read(url: &str) -> Result<Self, SetupError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unusable("it has no scheme"))?;
        let is_encrypted = match scheme {
            "redis" | "valkey" | "redis+unix" | "unix" => false,
            "rediss" | "valkeys" if cfg!(feature = "tls") => true,
            "rediss" | "valkeys" => {
                return Err(unusable("`rediss://` is TLS, which needs the feature `tls` of lock-runtime"));
            }
            _ => return Err(unusable("its scheme is not `redis://`")),
        };
        // TLS is made here: the client crate could do it only with a second choice of features.
        let plain = if is_encrypted { format!("redis://{rest}") } else { url.to_owned() };
        let server =
            plain.as_str().into_connection_info().map_err(|_| unusable("its host, port or database cannot be read"))?;
        let name = match server.addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            ConnectionAddr::Unix(path) => path.display().to_string(),
            _ => return Err(unusable("its scheme is not `redis://`")),
        };
        Ok(Self {
            server,
            name,
            credentials: None,
            sentinels: None,
            #[cfg(feature = "tls")]
            tls: is_encrypted.then(super::tls::Tls::new),
        })
    }

    /// Of the master that `sentinels` watch, wherever it is.
    pub(super) fn watched_by(mut self, sentinels: Sentinels) -> Self {
        self.name = format!("the master `{}`", sentinels.master());
        self.sentinels = Some(sentinels);
        self
    }

    /// Who knows where the server is, if that may change.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        self.sentinels.as_ref()
    }

    /// The address of the server as it is now. It may take half of `limit` to find it.
    pub(super) async fn locate(&self, limit: Duration, runtime: &Handle) -> Result<Cow<'_, Self>, StoreError> {
        let Some(sentinels) = &self.sentinels else { return Ok(Cow::Borrowed(self)) };
        let (host, port) = sentinels.locate(limit / 2, runtime).await?;
        Ok(Cow::Owned(self.found_at(&host, port)))
    }

    /// The address of the server that the sentinels have named.
    fn found_at(&self, host: &str, port: u16) -> Self {
        let mut found = self.elsewhere(host, port);
        found.name = format!("{host}:{port} ({})", self.name);
        found
    }

    /// Has `link`, which is to this address, given up when the sentinels name another.
    pub(super) fn follow(&self, link: &Arc<Link>) -> Result<(), StoreError> {
        let (Some(sentinels), ConnectionAddr::Tcp(host, port)) = (&self.sentinels, self.server()) else {
            return Ok(());
        };
        if sentinels.follow(link, host, *port) {
            return Ok(());
        }
        let text = format!("redis at {} is not the master any more; the sentinels have named another", self.name);
        Err(StoreError::new(StoreErrorKind::Refused, text))
    }

    /// Of a server elsewhere, which knows the same users.
    pub(super) fn elsewhere(&self, host: &str, port: u16) -> Self {
        let server = self.server.clone().set_addr(ConnectionAddr::Tcp(host.to_owned(), port));
        Self { server, name: format!("{host}:{port}"), ..self.clone() }
    }

    /// The number of the database that we want.
    #[cfg(feature = "cluster")]
    pub(super) fn database(&self) -> i64 {
        self.server.redis_settings().db()
    }

    /// For people to read.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has `provider` say who we are, each time that a connection is made.
    pub(super) fn identify(&mut self, provider: Provider) {
        self.credentials = Some(provider);
    }

    /// Has connections encrypted as `tls` says.
    #[cfg(feature = "tls")]
    pub(super) fn encrypt(&mut self, tls: super::tls::Tls) {
        if let Some(sentinels) = &mut self.sentinels {
            sentinels.encrypt(&tls);
        }
        self.tls = Some(tls);
    }

    pub(super) fn server(&self) -> &ConnectionAddr {
        self.server.addr()
    }

    /// How connections are encrypted, if they are.
    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<&super::tls::Tls> {
        self.tls.as_ref()
    }

    /// Who we are, and which database we want.
    pub(super) fn user(&self) -> RedisConnectionInfo {
        let user = self.server.redis_settings().clone();
        let Some(Credentials { user: name, password }) = self.credentials.as_ref().map(|provider| provider()) else {
            return user;
        };
        // Made anew: a user whom the URL names would stay where only a password is provided.
        let user = RedisConnectionInfo::default().set_db(user.db()).set_password(password);
        match name {
            Some(name) => user.set_username(name),
            None => user,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_without_credentials() {
        let address = Address::read("redis://user:s3cret@db.example:6380/3").expect("a good URL");
        assert_eq!(address.name(), "db.example:6380");
        assert!(!format!("{:?}", Credentials::new("user", "s3cret")).contains("s3cret"));
    }

    #[test]
    fn tls_is_a_feature() {
        let refused = Address::read("rediss://:s3cret@db.example").err().map(|error| error.to_string());
        assert_eq!(refused.is_none(), cfg!(feature = "tls"));
        if let Some(text) = refused {
            assert!(text.contains("feature `tls`") && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn who_is_provided_replaces_who_is_in_the_url() {
        let mut address = Address::read("redis://user:old@db.example:6380/3").expect("a good URL");
        address.identify(Arc::new(|| Credentials::password("new")));
        let user = address.user();
        assert_eq!((user.username(), user.password(), user.db()), (None, Some("new"), 3));
        address.identify(Arc::new(|| Credentials::new("other", "new")));
        assert_eq!(address.user().username(), Some("other"));
    }
}
