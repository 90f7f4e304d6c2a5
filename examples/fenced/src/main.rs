//! A holder that comes back after its lease, and the database that refuses what it writes.
//!
//! ```sh
//! redis-server &
//! cargo run -p lock-example-fenced              # the late write is refused
//! FENCE=off cargo run -p lock-example-fenced    # the database does not look at the token: a deposit is gone
//! ```
//!
//! Two processes make a deposit to the same account in a database, under the same lock. The first is stopped (SIGSTOP) after it
//! has read the balance, until its lease is over and the second has made its own deposit. Then it goes on, and writes what it
//! had worked out from the old balance. `REDIS_URL` names another server.
//!
//! The attribute cannot prevent that write. It drops a body whose lease is over at the next `.await`, and between reading and
//! writing this one has none, like every computation and every call that blocks. (The same can befall a body that awaits: what
//! it has already sent, nobody can call back.)

use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{self, Child, ChildStdout, Command, ExitCode, Stdio};

use lock_runtime::{LockError, LockManager, distributed_lock};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// Makes a deposit: reads the balance, thinks, and writes the new one.
#[distributed_lock(key = "account:{account}", ttl = "1s", wait = "30s", fence = token, manager = locks)]
async fn deposit(locks: &LockManager, accounts: &Accounts, account: u32, amount: i64) -> Result<(), Failure> {
    println!("has the lock, with token {token}");
    let balance = accounts.balance(account)?;
    println!("reads a balance of {balance}, and {THINKS}");
    think();
    accounts.write(account, balance + amount, token)
}

/// The resource: a table of accounts, each with the token of its last writer.
struct Accounts {
    database: Connection,
    fenced: bool,
}

impl Accounts {
    fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let fenced = env::var("FENCE").as_deref() != Ok("off");
        Ok(Self { database: Connection::open(path)?, fenced })
    }

    fn balance(&self, account: u32) -> Result<i64, rusqlite::Error> {
        self.database.query_one("SELECT balance FROM accounts WHERE id = ?1", [account], |row| row.get(0))
    }

    /// One statement compares and writes. It changes no row if a later token has been there, and that is no error to the database:
    /// whoever does not count the rows is not protected.
    fn write(&self, account: u32, balance: i64, token: i64) -> Result<(), Failure> {
        let sql = if self.fenced {
            "UPDATE accounts SET balance = ?2, fence = ?3 WHERE id = ?1 AND fence <= ?3"
        } else {
            "UPDATE accounts SET balance = ?2, fence = ?3 WHERE id = ?1"
        };
        let rows = self.database.execute(sql, (account, balance, token))?;
        println!("writes a balance of {balance}, with token {token}; rows changed: {rows}");
        if rows == 0 { Err(Failure::Late) } else { Ok(()) }
    }
}

/// Why a deposit was not made, or nobody knows what became of it.
#[derive(Debug)]
enum Failure {
    /// Somebody with a later token has written.
    Late,
    Lock(LockError),
    Database(rusqlite::Error),
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("refused: the account has been written with a later token"),
            Self::Lock(error) => error.fmt(f),
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl Error for Failure {}

const THINKS: &str = "thinks about it";

/// Stands for work without an `.await`: goes on when it is told to, by the end of the input.
fn think() {
    // An error would be an end, too.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// One of the two processes.
#[tokio::main(flavor = "current_thread")]
async fn customer(database: &Path, account: u32, amount: i64) -> Result<(), Box<dyn Error>> {
    // A stopped process would outlive a director that was killed.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;

    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let locks = LockManager::connect(&url).await.map_err(|error| {
        format!("{error}\nStart a server with `redis-server`, or set REDIS_URL to the address of one.")
    })?;
    let accounts = Accounts::open(database)?;
    loop {
        match deposit(&locks, &accounts, account, amount).await {
            Ok(()) => return Ok(()),
            // Nothing was written: once more, from the balance as it is now.
            Err(error @ Failure::Late) => println!("is {error}; tries again"),
            // Something was written, and by now somebody else may have done so too.
            Err(error @ Failure::Lock(LockError::Lost { .. })) => {
                println!("learns, too late: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => direct(),
        [database, account, amount] => match (account.parse(), amount.parse()) {
            (Ok(account), Ok(amount)) => customer(Path::new(database), account, amount),
            _ => Err("the account and the amount are numbers".into()),
        },
        _ => Err("this program takes no arguments".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the two processes against each other.
fn direct() -> Result<(), Box<dyn Error>> {
    let directory = env::temp_dir().join(format!("lock-example-fenced-{}", process::id()));
    fs::create_dir(&directory)?;
    let outcome = play(&directory.join("accounts.db"));
    fs::remove_dir_all(&directory)?;
    outcome
}

fn play(database: &Path) -> Result<(), Box<dyn Error>> {
    // A number of its own for each run, so that the lock is in nobody's way.
    let account = process::id();
    let accounts = Accounts::open(database)?;
    accounts.database.execute_batch(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, fence INTEGER NOT NULL DEFAULT 0)",
    )?;
    accounts.database.execute("INSERT INTO accounts (id, balance) VALUES (?1, 100)", [account])?;
    if !accounts.fenced {
        println!("FENCE=off: the database does not look at the token.");
    }
    println!("Account {account} holds 100. Two processes deposit 10 and 50.\n");

    let mut first = Customer::start("first ", database, account, 10)?;
    first.follow_until(|line| line.ends_with(THINKS))?;
    println!("        (the first process is stopped: SIGSTOP; its lease of a second ends)");
    first.signal(Signal::STOP)?;

    let mut second = Customer::start("second", database, account, 50)?;
    second.finish()?;

    println!("        (the first process goes on: SIGCONT; its body has no `.await` at which it could be dropped)");
    first.signal(Signal::CONT)?;
    first.finish()?;

    let balance = accounts.balance(account)?;
    let verdict = match balance {
        160 => "both deposits are there",
        110 => "the second deposit is gone",
        _ => "this is not what was to be shown",
    };
    println!("\nAccount {account} holds {balance}: {verdict}.");
    if balance == if accounts.fenced { 160 } else { 110 } { Ok(()) } else { Err(verdict.into()) }
}

/// One of the two processes, as the director sees it. It ends with the director's interest in it.
struct Customer {
    name: &'static str,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Customer {
    fn start(name: &'static str, database: &Path, account: u32, amount: i64) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(database).args([account.to_string(), amount.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("the output is not piped")?;
        Ok(Self { name, process, lines: BufReader::new(output).lines() })
    }

    /// Shows what it says, until it says what is waited for.
    fn follow_until(&mut self, last: impl Fn(&str) -> bool) -> Result<(), Box<dyn Error>> {
        for line in &mut self.lines {
            let line = line?;
            println!("{}: {line}", self.name);
            if last(&line) {
                return Ok(());
            }
        }
        Err(format!("the {} process has ended too early", self.name.trim()).into())
    }

    /// Lets it think no longer, and shows what else it says.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        drop(self.process.stdin.take());
        for line in &mut self.lines {
            println!("{}: {}", self.name, line?);
        }
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the {} process: {status}", self.name.trim()).into()) }
    }

    fn signal(&self, signal: Signal) -> Result<(), Box<dyn Error>> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }
}

impl Drop for Customer {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
