//! How the bytes get from one side to the other.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Asked, Conduct, Connection, Order, Shared, Way, lock};
use crate::resp;

/// Serves every connection in a task of its own, for as long as this one lives.
pub(super) async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut serving = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // Connections that have ended keep the memory of their tasks until somebody asks for them.
        while serving.try_join_next().is_some() {}
        let connection = Arc::new(Connection::new());
        if let Some((way, order)) = lock(&shared.at_first).clone() {
            connection.behave(way, order);
        }
        lock(&shared.connections).push(connection.clone());
        let shared = shared.clone();
        serving.spawn(async move {
            let served = serve(client, port, &shared, &connection).await;
            connection.open.store(false, Ordering::Release);
            served
        });
    }
}

/// How a connection ends.
enum End {
    /// Both sockets are closed.
    Closed,
    /// With a reset.
    Reset,
    /// The client's stays open.
    HalfOpen,
}

/// One connection, until either side closes it or it is cut.
async fn serve(mut client: TcpStream, port: u16, shared: &Shared, connection: &Arc<Connection>) -> io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = Relay { way: Way::Requests, shared, connection, from: from_client, to: to_server };
        let replies = Relay { way: Way::Replies, shared, connection, from: from_server, to: to_client };
        tokio::select! {
            ended = requests.run() => ended,
            ended = replies.run() => ended,
        }
    };
    match ended? {
        End::Closed => {}
        End::Reset => {
            client.set_zero_linger()?;
            server.set_zero_linger()?;
        }
        End::HalfOpen => {
            drop(server);
            discard(&mut client).await?;
        }
    }
    Ok(())
}

/// Reads until nothing more comes.
async fn discard(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// One way of one connection.
struct Relay<'a> {
    way: Way,
    shared: &'a Shared,
    connection: &'a Arc<Connection>,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
}

/// A message that has come, and was not passed on yet.
struct Message {
    bytes: Vec<u8>,
    arrived: Instant,
    /// The words of the request, or of the one that this answers. `None` until it is its turn.
    words: Option<Vec<String>>,
}

impl Relay<'_> {
    async fn run(mut self) -> io::Result<End> {
        let lane = self.connection.lane(self.way);
        let mut changes = lane.order.subscribe();
        let (mut unread, mut waiting) = (Vec::new(), VecDeque::new());
        let mut buffer = vec![0; 64 * 1024];
        let mut over = false;
        loop {
            let order = changes.borrow_and_update().clone();
            let mut due = None;
            match order.conduct {
                Conduct::Cut => return Ok(End::Closed),
                Conduct::Reset => return Ok(End::Reset),
                Conduct::HalfOpen => return Ok(End::HalfOpen),
                Conduct::HalfClose => {
                    self.to.shutdown().await?;
                    discard(&mut self.from).await?;
                    return pending().await;
                }
                Conduct::Hold if !waiting.is_empty() => order.effects.happened(),
                Conduct::Hold => {}
                _ => match self.pass(&mut waiting, &order).await? {
                    Passed::All => {}
                    // A trap was sprung.
                    Passed::UntilNewOrder => continue,
                    Passed::UntilLater(when) => due = Some(when),
                    Passed::End => return Ok(End::Closed),
                },
            }
            lane.held.store(waiting.len(), Ordering::Release);
            if over && waiting.is_empty() {
                return Ok(End::Closed);
            }
            let later = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                told = changes.changed() => told.map_err(io::Error::other)?,
                length = self.from.read(&mut buffer), if !over => match length? {
                    0 => over = true,
                    length => {
                        unread.extend_from_slice(&buffer[..length]);
                        split(&mut unread, &mut waiting);
                    }
                },
                () = later => {}
            }
        }
    }

    /// Passes on what is waiting, in the way that is ordered.
    async fn pass(&mut self, waiting: &mut VecDeque<Message>, order: &Order) -> io::Result<Passed> {
        while let Some(message) = waiting.front_mut() {
            if message.words.is_none() {
                let Some(words) = self.words_of(&message.bytes) else {
                    waiting.pop_front();
                    continue;
                };
                let sprung = self.spring(&words);
                message.words = Some(words);
                if sprung {
                    return Ok(Passed::UntilNewOrder);
                }
            }
            if let Conduct::Delay(delay) = order.conduct {
                let due = message.arrived + delay;
                if due > Instant::now() {
                    order.effects.happened();
                    return Ok(Passed::UntilLater(due));
                }
            }
            let Some(Message { bytes, words, .. }) = waiting.pop_front() else { return Ok(Passed::All) };
            let words = words.unwrap_or_default();
            let is_note = self.way == Way::Replies && resp::is_out_of_turn(&bytes);
            match order.conduct {
                Conduct::DropNotes if is_note => {
                    order.effects.happened();
                    continue;
                }
                Conduct::Drop => {
                    order.effects.happened();
                    continue;
                }
                Conduct::Repeat(pause) => {
                    order.effects.happened();
                    self.connection.lane(self.way).order.send_replace(Order::pass());
                    self.connection.ask(&words, true);
                    self.to.write_all(&bytes).await?;
                    self.connection.swallowed.notified().await;
                    tokio::time::sleep(pause).await;
                    self.connection.ask(&words, false);
                    self.to.write_all(&bytes).await?;
                    return Ok(Passed::UntilNewOrder);
                }
                Conduct::CutAfter(length) => {
                    order.effects.happened();
                    self.to.write_all(&bytes[..length.min(bytes.len())]).await?;
                    return Ok(Passed::End);
                }
                _ => {}
            }
            if self.way == Way::Requests {
                self.connection.ask(&words, false);
            }
            self.to.write_all(&bytes).await?;
        }
        Ok(Passed::All)
    }

    /// The words of a request, or of the one that a reply answers. `None` for a reply that is not to be passed on.
    fn words_of(&self, bytes: &[u8]) -> Option<Vec<String>> {
        match self.way {
            Way::Requests => Some(resp::words(bytes)),
            Way::Replies if resp::is_out_of_turn(bytes) => Some(Vec::new()),
            Way::Replies => match lock(&self.connection.asked).pop_front() {
                Some(Asked { swallow: true, .. }) => {
                    self.connection.swallowed.notify_one();
                    None
                }
                Some(asked) => Some(asked.words),
                None => Some(Vec::new()),
            },
        }
    }

    /// Whether a trap waited for this message. It waits no longer.
    fn spring(&self, words: &[String]) -> bool {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut traps = lock(&self.shared.traps);
        let Some(index) = traps.iter().position(|trap| trap.way == self.way && (trap.matches)(&words)) else {
            return false;
        };
        let trap = traps.remove(index);
        self.connection.behave(self.way, trap.order.clone());
        trap.sprung.send_replace(Some(self.connection.clone()));
        true
    }
}

/// How far the messages were passed on.
enum Passed {
    All,
    /// The conduct has changed before the next one.
    UntilNewOrder,
    /// The next one has to wait until then.
    UntilLater(Instant),
    /// That was the last of them.
    End,
}

/// Moves the whole messages of `unread` to `waiting`. What is none is passed on as it comes.
fn split(unread: &mut Vec<u8>, waiting: &mut VecDeque<Message>) {
    loop {
        let length = match resp::length(unread) {
            Ok(Some(length)) => length,
            Ok(None) => return,
            Err(resp::NotResp) => unread.len(),
        };
        let rest = unread.split_off(length);
        let bytes = std::mem::replace(unread, rest);
        waiting.push_back(Message { bytes, arrived: Instant::now(), words: None });
    }
}
