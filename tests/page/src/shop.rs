//! A running web example.

use lock_tests::{Process, RedisServer, example};

use crate::PATIENCE;

/// The service, on a port of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Shop {
    address: String,
    program: Process,
}

impl Shop {
    /// Starts it, with its locks in memory.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::start(None)
    }

    /// Starts it, with its locks in Redis.
    #[must_use]
    pub fn on(redis: &RedisServer) -> Self {
        Self::start(Some(redis))
    }

    fn start(redis: Option<&RedisServer>) -> Self {
        let mut command = example("web");
        command.env("PORT", "0");
        if let Some(redis) = redis {
            command.env("REDIS_URL", redis.url());
        }
        let mut program = Process::spawn(&command);
        loop {
            let line = program.line(PATIENCE);
            if let Some(address) = line.strip_prefix("Serving on http://") {
                let address = address.to_owned();
                return Self { address, program };
            }
        }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the page is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What the page calls this instance.
    ///
    /// # Panics
    ///
    /// When the address has no port.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.address.split_once(':').expect("an address and its port").1
    }

    /// The process.
    pub fn program(&mut self) -> &mut Process {
        &mut self.program
    }
}
