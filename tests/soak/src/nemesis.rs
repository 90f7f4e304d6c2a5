//! Does what the schedule says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lock_tests::{Admin, Conduct, Count, Process, Proxy, Way, eventually_blocking, machine_time};

use crate::history::DataLoss;
use crate::schedule::{Fault, Step};
use crate::topology::{ELECTION, Servers};
use crate::worker::Orders;
use crate::{KEYS, key_name, line_name};

/// How long a server may take to answer that nothing is wrong with.
const AT_LEISURE: Duration = Duration::from_secs(100);

/// How long a cluster tries to do what it was asked for, at most.
const PLANNED: Duration = Duration::from_secs(6);

/// How long connections may take to close.
const SOON: Duration = Duration::from_secs(20);

/// A worker's place, and who is in it.
pub(crate) struct Place {
    pub(crate) process: Process,
    /// The nemesis has killed it, and has not put another in its place yet.
    pub(crate) vacant: bool,
    pub(crate) orders: Orders,
    /// What is still to be read of those who were here before.
    pub(crate) dead: Vec<Orders>,
}

/// Everything that faults befall.
pub(crate) struct Scene {
    pub(crate) program: PathBuf,
    pub(crate) servers: Mutex<Servers>,
    pub(crate) places: Vec<Mutex<Place>>,
    /// By server, and before each of them by worker. None before servers that tell the workers where the others are.
    pub(crate) proxies: Vec<Vec<Proxy>>,
    pub(crate) data_losses: Mutex<Vec<DataLoss>>,
    /// How often each fault had an effect.
    pub(crate) fired: Mutex<BTreeMap<Fault, u64>>,
    pub(crate) over: Over,
}

/// Tells that the run is over.
#[derive(Default)]
pub(crate) struct Over {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Over {
    pub(crate) fn tell(&self) {
        *lock(&self.told) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_told(&self) -> bool {
        *lock(&self.told)
    }

    /// Waits until then; `true` when the run is over before.
    fn rest_until(&self, then: Instant) -> bool {
        let mut told = lock(&self.told);
        while !*told {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            told = self.changed.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *told
    }

    fn rest(&self, time: Duration) {
        self.rest_until(Instant::now() + time);
    }
}

impl Scene {
    /// Does `steps`, one after the other, and mends what it has broken. None is begun after `length`: servers that have to agree
    /// may take longer than was thought.
    pub(crate) fn run(&self, steps: &[Step], started: Instant, length: Duration) {
        let _told = TellOfPanic(&self.over);
        for step in steps {
            if self.over.rest_until(started + step.at) || started.elapsed() >= length {
                return;
            }
            if self.inflict(step) {
                *lock(&self.fired).entry(step.fault).or_default() += 1;
            }
        }
    }

    /// Whether it had an effect.
    fn inflict(&self, &Step { fault, server, target, lasting, delay, .. }: &Step) -> bool {
        match fault {
            Fault::ClientStopped => self.stop_client(target % self.places.len(), lasting),
            Fault::ClientKilled => self.kill_client(target % self.places.len(), lasting),
            Fault::ConnectionsCut => self.misconduct(server, target, Way::Requests, Conduct::Cut, lasting),
            Fault::RequestsLost => self.misconduct(server, target, Way::Requests, Conduct::Drop, lasting),
            Fault::RepliesLost => self.misconduct(server, target, Way::Replies, Conduct::Drop, lasting),
            Fault::HalfClosed => self.misconduct(server, target, Way::Replies, Conduct::HalfClose, lasting),
            Fault::NotesLost => self.disturb(server, target, Way::Replies, Conduct::DropNotes, lasting),
            Fault::RequestsDelayed => self.disturb(server, target, Way::Requests, Conduct::Delay(delay), lasting),
            Fault::RepliesDelayed => self.disturb(server, target, Way::Replies, Conduct::Delay(delay), lasting),
            Fault::ServerStopped => self.stop_server(server, lasting),
            Fault::ServerRestarted => self.restart(server, lasting),
            Fault::DataLost => self.losing_data(None, || self.restart_empty(server, lasting)),
            Fault::ConnectionsKilled => {
                // Whoever has waited in line is of the second type.
                self.kill_connections(server, "normal") + self.kill_connections(server, "pubsub") > 0
            }
            Fault::ConnectionKilled => self.kill_one_connection(server, target),
            Fault::ScriptsForgotten => {
                self.admin(server).forget_scripts();
                true
            }
            Fault::ListenersKilled => self.kill_connections(server, "pubsub") > 0,
            Fault::KeyDeleted => self.losing_data(Some(target), || self.delete(server, &key_name(target), lasting)),
            Fault::LineDeleted => self.delete(server, &line_name(target), lasting),
            Fault::EverythingHeard => self.listen_to_everything(server, lasting),
            Fault::KeyStolen => self.losing_data(Some(target), || self.steal(server, target, lasting)),
            Fault::ClientsPaused => self.pause_clients(server, target, lasting),
            Fault::FailedOver => self.fail_over(server),
            Fault::MasterStopped => self.replaced(server, |number| self.stop_number(number, lasting)),
            Fault::MasterKilled => self.replaced(server, |number| self.restart_number(number, lasting)),
            Fault::SlotMoved => self.move_slot(server, &key_name(target), lasting),
        }
    }

    /// The loss is written down before it happens: nobody is to see its consequences before its name.
    fn losing_data(&self, key: Option<usize>, fault: impl FnOnce() -> bool) -> bool {
        let index = {
            let mut losses = lock(&self.data_losses);
            losses.push(DataLoss { key, from: machine_time(), until: None });
            losses.len() - 1
        };
        let had_an_effect = fault();
        lock(&self.data_losses)[index].until = Some(machine_time());
        had_an_effect
    }

    /// A connection to a server, which nobody stops but us. On a machine that has other things to do it may take a while.
    pub(crate) fn admin(&self, server: usize) -> Admin {
        let number = self.number(server);
        let mut admin = None;
        eventually_blocking("the server answers", AT_LEISURE, || {
            admin = lock(&self.servers).at(number).try_admin();
            admin.is_some()
        });
        admin.expect("it has answered")
    }

    /// The numbers of those that take writes, when everybody agrees who that is.
    pub(crate) fn masters(&self) -> Vec<usize> {
        let mut masters = None;
        eventually_blocking("the servers agree", AT_LEISURE, || {
            masters = lock(&self.servers).masters();
            masters.is_some()
        });
        masters.expect("they agree")
    }

    /// The number of one of those.
    fn number(&self, server: usize) -> usize {
        let masters = self.masters();
        masters[server % masters.len()]
    }

    /// Has a master replaced on demand.
    fn fail_over(&self, server: usize) -> bool {
        let number = self.number(server);
        let ask = || {
            // What was asked for before may have come to pass, or to nothing.
            eventually_blocking("a master is replaced", AT_LEISURE, || {
                let asked = lock(&self.servers).ask_to_fail_over(number);
                let until = Instant::now() + PLANNED;
                while asked && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(20));
                    if lock(&self.servers).masters().is_some_and(|masters| !masters.contains(&number)) {
                        return true;
                    }
                }
                self.masters().iter().all(|master| *master != number)
            });
            true
        };
        // Of a cluster, it is said that nothing is lost.
        let may_lose = matches!(*lock(&self.servers), Servers::Sentinel(_));
        if may_lose { self.losing_data(None, ask) } else { ask() }
    }

    /// A fault after which another may be in the place of a master, without what it had not been told of. Whether it is.
    fn replaced(&self, server: usize, fault: impl FnOnce(usize)) -> bool {
        let number = self.number(server);
        let names: Vec<_> = (0..KEYS).map(key_name).collect();
        let keys = lock(&self.servers).keys_at(number, &names);
        let from = machine_time();
        let losses = keys.into_iter().map(|key| DataLoss { key: Some(key), from, until: None });
        lock(&self.data_losses).extend(losses);
        fault(number);
        // Somebody may be about to be elected still.
        let mut masters = self.masters();
        let until = Instant::now() + ELECTION;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
            masters = self.masters();
        }
        let is_replaced = !masters.contains(&number);
        let over = machine_time();
        let mut losses = lock(&self.data_losses);
        if is_replaced {
            losses.iter_mut().filter(|loss| loss.from == from).for_each(|loss| loss.until = Some(over));
        } else {
            // It has all that it had: nothing is excused.
            losses.retain(|loss| loss.from != from);
        }
        is_replaced
    }

    /// Moves the slot of a key.
    fn move_slot(&self, server: usize, key: &str, lasting: Duration) -> bool {
        let masters = self.masters();
        let (slot, from, to) = {
            let servers = lock(&self.servers);
            let Servers::Cluster(cluster) = &*servers else { return false };
            let from = cluster.owner(key);
            let others: Vec<_> = masters.into_iter().filter(|master| *master != from).collect();
            let (slot, to) = (cluster.slot(key), others[server % others.len()]);
            cluster.begin_to_move(slot, from, to);
            (slot, from, to)
        };
        self.over.rest(lasting);
        if let Servers::Cluster(cluster) = &*lock(&self.servers) {
            cluster.move_keys(slot, from, to, None);
            cluster.end_move(slot, from, to);
        }
        self.masters();
        true
    }

    fn stop_client(&self, place: usize, lasting: Duration) -> bool {
        lock(&self.places[place]).process.pause();
        self.over.rest(lasting);
        lock(&self.places[place]).process.resume();
        true
    }

    fn kill_client(&self, place: usize, lasting: Duration) -> bool {
        {
            let mut place = lock(&self.places[place]);
            place.vacant = true;
            place.process.kill();
        }
        self.over.rest(lasting);
        let mut place = lock(&self.places[place]);
        let mut orders = place.orders.clone();
        orders.life += 1;
        let dead = std::mem::replace(&mut place.orders, orders);
        place.dead.push(dead);
        place.process = start(&self.program, &place.orders);
        place.vacant = false;
        true
    }

    /// The network of one worker, or of all, before a server.
    fn network(&self, server: usize, target: usize) -> &[Proxy] {
        let proxies = &self.proxies[server];
        proxies.get(target..=target).unwrap_or(proxies)
    }

    /// Behaves badly for a while. A connection on which something was lost is not used any more: what comes later would be taken
    /// for the answer to what is missing, and no TCP connection does that.
    fn misconduct(&self, server: usize, target: usize, way: Way, conduct: Conduct, lasting: Duration) -> bool {
        let network = self.network(server, target);
        let order = |way, conduct| network.iter().map(|proxy| proxy.try_conduct_all(way, conduct)).collect::<Vec<_>>();
        let effects = order(way, conduct);
        self.over.rest(lasting);
        let cuts = order(Way::Requests, Conduct::Cut);
        eventually_blocking("all connections are closed", SOON, || {
            network.iter().all(|proxy| proxy.open_connections() == 0)
        });
        order(Way::Requests, Conduct::Pass);
        order(Way::Replies, Conduct::Pass);
        happened(&effects) || (conduct == Conduct::Cut && happened(&cuts))
    }

    /// Behaves badly for a while, in a way after which connections can still be used.
    fn disturb(&self, server: usize, target: usize, way: Way, conduct: Conduct, lasting: Duration) -> bool {
        let network = self.network(server, target);
        let order = |conduct| network.iter().map(|proxy| proxy.try_conduct_all(way, conduct)).collect::<Vec<_>>();
        let effects = order(conduct);
        self.over.rest(lasting);
        order(Conduct::Pass);
        happened(&effects)
    }

    fn stop_server(&self, server: usize, lasting: Duration) -> bool {
        self.stop_number(self.number(server), lasting);
        true
    }

    fn stop_number(&self, number: usize, lasting: Duration) {
        lock(&self.servers).at(number).pause();
        self.over.rest(lasting);
        lock(&self.servers).at(number).resume();
    }

    fn restart(&self, server: usize, lasting: Duration) -> bool {
        self.restart_number(self.number(server), lasting);
        true
    }

    fn restart_number(&self, number: usize, lasting: Duration) {
        lock(&self.servers).at(number).kill();
        self.over.rest(lasting);
        lock(&self.servers).at(number).restart();
    }

    fn restart_empty(&self, server: usize, lasting: Duration) -> bool {
        let number = self.number(server);
        lock(&self.servers).at(number).kill();
        self.over.rest(lasting);
        lock(&self.servers).at(number).restart_empty();
        true
    }

    fn kill_one_connection(&self, server: usize, number: usize) -> bool {
        let mut admin = self.admin(server);
        let own: u64 = admin.command(&["CLIENT", "ID"]);
        let clients: String = admin.command(&["CLIENT", "LIST", "TYPE", "normal"]);
        let ids = clients.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse::<u64>().ok());
        let ids: Vec<_> = ids.filter(|id| *id != own).collect();
        // It may be gone by itself since.
        !ids.is_empty() && {
            let id = ids[number % ids.len()].to_string();
            admin.command::<u64>(&["CLIENT", "KILL", "ID", &id]) > 0
        }
    }

    fn kill_connections(&self, server: usize, of_type: &str) -> u64 {
        self.admin(server).command(&["CLIENT", "KILL", "TYPE", of_type, "SKIPME", "yes"])
    }

    /// Deletes a key as soon as it is there.
    fn delete(&self, server: usize, key: &str, within: Duration) -> bool {
        let (mut admin, until) = (self.admin(server), Instant::now() + within);
        loop {
            if admin.delete(key) {
                return true;
            }
            if Instant::now() >= until || self.over.rest_until(Instant::now() + Duration::from_millis(2)) {
                return false;
            }
        }
    }

    /// Writes over whatever is there. Nobody gives this lock back.
    fn steal(&self, server: usize, key: usize, lasting: Duration) -> bool {
        self.admin(server).set(&key_name(key), "somebody else's", &["PX", &lasting.as_millis().to_string()]);
        true
    }

    fn listen_to_everything(&self, server: usize, lasting: Duration) -> bool {
        let mut curious = self.admin(server);
        curious.command::<()>(&["PSUBSCRIBE", "*"]);
        self.over.rest(lasting);
        true
    }

    fn pause_clients(&self, server: usize, number: usize, lasting: Duration) -> bool {
        let whom = if number.is_multiple_of(2) { "ALL" } else { "WRITE" };
        self.admin(server).command::<()>(&["CLIENT", "PAUSE", &lasting.as_millis().to_string(), whom]);
        // An answer is the end of it.
        self.over.rest(lasting);
        true
    }
}

/// A nemesis that has failed ends the run.
struct TellOfPanic<'a>(&'a Over);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.tell();
        }
    }
}

fn happened(counts: &[Count]) -> bool {
    counts.iter().any(|count| count.times() > 0)
}

/// Starts a worker.
pub(crate) fn start(program: &PathBuf, orders: &Orders) -> Process {
    Process::spawn(Command::new(program).args(orders.to_arguments()))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
