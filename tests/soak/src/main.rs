//! Runs the soak for any length: `cargo run --release -p lock-soak -- --minutes 60`. CONTRIBUTING has the details.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use lock_soak::run::{Options, run};
use lock_soak::worker::{Orders, work};
use lock_tests::machine_time;

const USAGE: &str = "usage: lock-soak [--minutes N | --seconds N] [--seed N] [--broken STORE] [--on one | redlock | cluster | sentinel]";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(("worker", orders)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        work(&Orders::read(orders));
        return ExitCode::SUCCESS;
    }
    let options = match read(&arguments) {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("{mistake}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = run(&options);
    print!("{report}");
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(arguments: &[String]) -> Result<Options, String> {
    // Any seed will do, and the report names it.
    let seed = u64::from(machine_time().subsec_nanos()) * 1_000_003;
    let program = env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let mut options = Options::new(seed, program);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return Err(format!("`{}` of what?", pair[0])) };
        let number = || value.parse::<u64>().map_err(|_| format!("`{value}` is no number"));
        match name.as_str() {
            "--minutes" => options.length = Duration::from_secs(60 * number()?),
            "--seconds" => options.length = Duration::from_secs(number()?),
            "--seed" => options.seed = number()?,
            "--broken" => options = options.broken(value.parse()?),
            "--on" => options = options.on(value.parse()?),
            _ => return Err(format!("`{name}` is unknown")),
        }
    }
    Ok(options)
}
