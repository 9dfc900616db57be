//! The bench's command line. Started under the name `downlinkd` it is the daemon.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use downlinkd::bench::{agent, demo, fleet, load, perf, scenarios, standalone};

/// Bench for downlinkd: everything an agent talks to, simulated on this machine
#[derive(Parser)]
#[command(name = "downlink-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Five commands to a simulated PX4 and back, duplicates and a kill -9 among them
    Demo {
        /// Stay up afterwards, for commands by hand, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Scenarios between a publisher, the real agent and a vehicle, simulated or real
    Run(scenarios::Options),
    /// A simulated PX4 alone, for an agent that you start yourself
    Vehicle(standalone::Options),
    /// Many commands through one agent: latency of each stage, throughput, processor time, memory
    Load(load::LoadArguments),
    /// More and more vehicles on one broker, and what each of them costs
    Fleet(fleet::FleetArguments),
    /// The agent's figures against what this machine, its disk and the broker allow
    Perf(perf::PerfArguments),
}

/// EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    if let Some(code) = agent::run_if_child(downlinkd::cli::main) {
        return code;
    }
    match Arguments::try_parse() {
        Ok(Arguments { command: Command::Demo { keep } }) => demo::main(keep),
        Ok(Arguments { command: Command::Run(options) }) => scenarios::main(&options),
        Ok(Arguments { command: Command::Vehicle(options) }) => standalone::main(&options),
        Ok(Arguments { command: Command::Load(arguments) }) => load::main(&arguments),
        Ok(Arguments { command: Command::Fleet(arguments) }) => fleet::main(&arguments),
        Ok(Arguments { command: Command::Perf(arguments) }) => perf::main(&arguments),
        Err(error) => {
            // Nothing is left to tell the reason to when stderr is closed.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
