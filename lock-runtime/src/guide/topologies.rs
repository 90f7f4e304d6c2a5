//! Which topology? One server, several, or none.
//!
//! A lock is as good as the place where it is kept, and as what happens when that place fails. Begin with what a second holder
//! would cost.
//!
//! | a second holder costs | take |
//! |---|---|
//! | work that is done twice: a report, a cache, an e-mail | one server, without a fencing token |
//! | data that are wrong | any of them, and a [fencing token](crate::guide::fencing) that the resource checks |
//! | data that are wrong, where nobody can check a token | not a lock with a lease: a transaction, or a row lock, of the database that has the data |
//!
//! # One server
//!
//! Right for most. It is the fastest, its locks are handed from process to process in the order in which they were asked for, and
//! it has one way to fail: it is away, and then nobody gets a lock. What it forgets (a restart without its data, eviction, `FLUSHALL`)
//! can have two holders at once, for as long as the first one's lease lasts.
//!
//! # Redlock: several independent servers
//!
//! Right where locks have to be had while any one server is away, and the servers are independent anyway: in several zones, of
//! several operators. A majority has to agree, so two of five may be away. It costs a command to each of five servers in the place of
//! one, and the line: whoever waits asks again after a random pause. `Redlock` (feature `redlock`) is that.
//!
//! It is not safer than one server against what makes a *holder* late: pauses, slow networks, clocks. It is safer against a server
//! that fails, if that server remembers: one that comes back without its data within the TTL can let two have the same lock. Have servers
//! write with `appendfsync always`, or start them again later than the longest TTL.
//!
//! Three nodes of one cluster, or a master and its replicas, are no independent servers, and
//! `LockManager::redlock` refuses those that it can tell.
//!
//! # What the critics of Redlock said
//!
//! In 2016 Martin Kleppmann wrote [*How to do distributed locking*](https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html),
//! and Salvatore Sanfilippo, who had designed Redlock, answered with [*Is Redlock safe?*](http://antirez.com/news/101). What they
//! describe happens, and most of it to every lock with a lease, on one server or five. These are their scenarios, the tests
//! of this project that run them, and how they end:
//!
//! | what happens | test | outcome |
//! |---|---|---|
//! | The holder is stopped (a garbage collector, `SIGSTOP`) beyond its lease; another takes the lock; the first goes on and writes. | `faults::row_09_holder_stopped_for_longer_than_its_lease`, `faults::row_09_stale_writer_refused_by_its_token` | The body is dropped at its next poll, and not polled again. A write that was already on its way is carried out, unless the resource looks at the fencing token: then it is refused. |
//! | The caller is stopped, or the network slow, between asking and hearing of the majority; the locks have expired when it hears. | `redlock::trouble::rx_03_a_majority_that_comes_too_late` | Not acquired: the lease counts from before the first byte was sent, and the clock is looked at again behind the last answer. What was taken is given back on all nodes. |
//! | Redlock has no fencing tokens, and none could be had without consensus. | `redlock::fencing`, and the model of Redlock in `tests/model` | It has: the highest counter of a majority, written back to a majority while the lock is held there, before the caller has it. Two majorities share a node, so the next holder's is higher. A majority of nodes that lose their counters, and have clocks that are behind, breaks it. |
//! | A server's clock is set forwards, so its key expires early, and another majority forms. | `redlock::rows::row_39_the_clock_of_a_server_is_set_forwards` | Two holders, until the first one's lease is over. Neither gives back the other's lock; the second one's fencing token is the higher. Clocks that run at different *rates* are allowed for: 1 % of the TTL and 2 ms. |
//! | A server restarts without its data, and its lock is given again. | `redlock::rows::row_51_a_server_forgets` | Two holders, if it comes back within the TTL. None, if later. |
//! | Half of the nodes are taken by each of two callers. | `redlock::trouble::rx_07_a_split_vote`, `redlock::cases::rx_07_row_50_split_votes_end` | Neither has the lock; both give back what they have at once; after random pauses one has it. |
//! | For efficiency, five servers are too much, and for correctness too little. | | We agree with the first half. The second holds for every lock with a lease: hence the tokens. |
//!
//! # None
//!
//! If the data are in one database, its transactions (`SELECT … FOR UPDATE`, a unique index, an advisory lock) exclude without a
//! lease and without a second system. If a message queue delivers each message to one consumer, that is a lock already. And if the
//! work can be made so that twice does no harm, nothing is locked at all.
