//! Network namespaces of the test's own, on one switch, whose ways to each other can be cut.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::server::ServerOptions;

/// As many places as a test wants, each a network namespace with an address. The test itself is at another address on the same
/// switch. Dropping it removes all of it.
#[derive(Debug)]
pub struct Network {
    /// What the names of namespaces and links begin with: `lk` and the test's process id.
    name: String,
    subnet: String,
    places: usize,
    /// It is the only one of the process: it has its name from there.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Network {
    /// A network with so many places. `None`, and a line that says so, where there is no right to make one, or no `ip`: that fails
    /// the test where `LOCK_REQUIRE_NAMESPACES` is set.
    ///
    /// # Panics
    ///
    /// When it cannot be made although it has to be.
    #[must_use]
    pub fn with(places: usize) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        remove_what_is_left();
        let id = std::process::id();
        let network = Self { name: format!("lk{id}"), subnet: format!("10.213.{}", id % 250), places, _alone: alone };
        match network.build() {
            Ok(()) => Some(network),
            Err(why) => {
                assert!(env::var_os("LOCK_REQUIRE_NAMESPACES").is_none(), "no network namespaces: {why}");
                println!("*** NOT TESTED: partitions between network namespaces: {why} ***");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let (name, subnet) = (&self.name, &self.subnet);
        let switch = format!("{name}s");
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add switch type bridge"))?;
        ip(&format!("-n {switch} link set switch up"))?;
        ip(&format!("link add {name}h type veth peer name here netns {switch}"))?;
        ip(&format!("-n {switch} link set here master switch up"))?;
        ip(&format!("addr add {subnet}.1/24 dev {name}h"))?;
        ip(&format!("link set {name}h up"))?;
        for place in 0..self.places {
            let (namespace, address) = (self.namespace(place), self.address(place));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add wire netns {namespace} type veth peer name p{place} netns {switch}"))?;
            ip(&format!("-n {switch} link set p{place} master switch up"))?;
            ip(&format!("-n {namespace} addr add {address}/24 dev wire"))?;
            ip(&format!("-n {namespace} link set wire up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            // What comes from where nothing could be sent to is dropped: so one route cuts both ways.
            let filter = "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter";
            run(Command::new("ip").args(["netns", "exec", &namespace, "sh", "-c", filter]))?;
        }
        Ok(())
    }

    fn namespace(&self, place: usize) -> String {
        format!("{}n{place}", self.name)
    }

    /// The address of a place.
    #[must_use]
    pub fn address(&self, place: usize) -> String {
        format!("{}.{}", self.subnet, place + 2)
    }

    /// Has a server be at a place.
    #[must_use]
    pub fn inside(&self, place: usize, options: ServerOptions) -> ServerOptions {
        options.at(&self.address(place), &self.namespace(place))
    }

    /// Nothing gets from one place to the other any more, nor back.
    ///
    /// # Panics
    ///
    /// When that cannot be done.
    pub fn cut(&self, place: usize, other: usize) {
        self.route("add", place, &self.address(other));
        self.route("add", other, &self.address(place));
    }

    /// The way between two places is there again.
    ///
    /// # Panics
    ///
    /// When it was not cut.
    pub fn heal(&self, place: usize, other: usize) {
        self.route("del", place, &self.address(other));
        self.route("del", other, &self.address(place));
    }

    /// Nothing gets from a place to the test any more, nor back.
    ///
    /// # Panics
    ///
    /// When that cannot be done.
    pub fn cut_from_here(&self, place: usize) {
        self.route("add", place, &format!("{}.1", self.subnet));
    }

    /// The way between a place and the test is there again.
    ///
    /// # Panics
    ///
    /// When it was not cut.
    pub fn heal_from_here(&self, place: usize) {
        self.route("del", place, &format!("{}.1", self.subnet));
    }

    fn route(&self, what: &str, place: usize, to: &str) {
        let done = ip(&format!("-n {} route {what} blackhole {to}/32", self.namespace(place)));
        done.unwrap_or_else(|why| panic!("{what} {to} at {place}: {why}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what was left by tests that were killed.
fn remove_what_is_left() {
    let Ok(namespaces) = fs::read_dir("/run/netns") else { return };
    for namespace in namespaces.flatten() {
        let name = namespace.file_name().to_string_lossy().into_owned();
        let id: String = name.strip_prefix("lk").unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        if !id.is_empty() && !Path::new("/proc").join(&id).exists() {
            remove(&format!("lk{id}"));
        }
    }
}

/// Removes the namespaces whose names begin like that, and with them all links that lead there.
fn remove(name: &str) {
    let Ok(namespaces) = fs::read_dir("/run/netns") else { return };
    let names = namespaces.flatten().map(|namespace| namespace.file_name().to_string_lossy().into_owned());
    let of = |other: &String| other.strip_prefix(name).is_some_and(|rest| rest.starts_with(['s', 'n']));
    // The system removes what is in a namespace some time later, and this is to be gone now.
    let _ = ip(&format!("link del {name}h"));
    for namespace in names.filter(of) {
        // Somebody else may have been faster.
        let _ = ip(&format!("netns del {namespace}"));
    }
}

fn ip(words: &str) -> Result<(), String> {
    run(Command::new("ip").args(words.split(' ')))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", text())) }
}
