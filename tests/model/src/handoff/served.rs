//! Whether everybody who waits is served.

use super::configuration::{Handoff, Rule};
use super::process::{CALLERS, Turn};
use super::server::PROCESSES;
use super::system::{Action, System};

/// How many rounds there are in a tick at most. Far more than there are without a livelock.
const ROUNDS: usize = 64;

/// Whether every caller who waits in `system`, in a process that lives, gets the lock within the bound if nothing more goes wrong
/// and nobody else wants it: what is under way arrives, who has the lock gives it back, and who is in line asks once a tick. What
/// was sent on broken connections arrives first, or never.
pub(crate) fn everybody(system: &System, handoff: &Handoff) -> bool {
    let arrives = serve(system.clone(), true, handoff);
    let strays = system.processes.iter().any(|process| !process.strays.is_empty());
    arrives && (!strays || serve(system.clone(), false, handoff))
}

fn serve(mut system: System, strays: bool, handoff: &Handoff) -> bool {
    for number in 0..system.processes.len() {
        while strays && !system.processes[number].strays.is_empty() {
            system.act(Action::Stray(number), handoff);
        }
        system.act(Action::LoseStrays(number), handoff);
    }
    let mut waiting = [[false; CALLERS]; PROCESSES];
    for (process, waiting) in system.processes.iter().zip(&mut waiting) {
        for (caller, waits) in waiting.iter_mut().enumerate() {
            *waits = process.is_waiting(caller) && !process.frozen[caller];
        }
    }
    for tick in 0..=handoff.served_within {
        if tick > 0 {
            system.act(Action::Tick, handoff);
        }
        let mut asked = [false; PROCESSES];
        let mut rounds = 0;
        while round(&mut system, &mut waiting, &mut asked, handoff) {
            rounds += 1;
            if rounds > ROUNDS {
                return false;
            }
        }
        if waiting.iter().flatten().all(|waits| !waits) {
            return true;
        }
    }
    false
}

/// Everybody does what there is to do, once. Whether there was something.
fn round(
    system: &mut System,
    waiting: &mut [[bool; CALLERS]; PROCESSES],
    asked: &mut [bool; PROCESSES],
    handoff: &Handoff,
) -> bool {
    let mut busy = false;
    for number in 0..system.processes.len() {
        let mut take = |system: &mut System, action| {
            busy = true;
            system.act(action, handoff);
        };
        while !system.processes[number].requests.is_empty() {
            take(system, Action::CarryOut(number));
        }
        if system.processes[number].reply.is_some() {
            take(system, Action::Deliver(number));
        }
        for (caller, waits) in waiting[number].iter_mut().enumerate() {
            if let Some(hold) = system.processes[number].holds[caller] {
                *waits &= !hold.believes(system.server.now);
                take(system, Action::Release(number, caller));
            }
        }
        let process = &system.processes[number];
        let frozen = process.line.first().is_some_and(|first| process.frozen[first]);
        if frozen && process.offer.is_some() && handoff.has(Rule::OffersAreTakenBack) {
            take(system, Action::Revoke(number));
        }
        let process = &system.processes[number];
        // Asking without being called: once.
        let polls = matches!(process.turn, Turn::Paused) && process.place.is_some() && !process.bell;
        if system.may_step(number, handoff) && !(polls && asked[number]) {
            asked[number] |= polls;
            take(system, Action::Step(number));
        }
    }
    while !system.server.notes.is_empty() {
        busy = true;
        system.act(Action::Note(0), handoff);
    }
    busy
}
