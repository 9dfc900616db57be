//! `downlinkd run`

use std::panic::resume_unwind;
use std::process::ExitCode;

use ::log::LevelFilter;

use super::{CONFIGURATION, RunArguments, exit_code};
use crate::config::Config;
use crate::daemon;
use crate::edge::log;

pub fn run(arguments: &RunArguments) -> ExitCode {
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("downlinkd: {error}");
            return ExitCode::from(CONFIGURATION);
        }
    };
    let level = if arguments.verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let _log = match log::install(level) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("downlinkd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            // As a task, since the runtime asks epoll once more whenever another one wakes the future that it
            // blocks on.
            let agent = runtime.spawn(daemon::run(config, arguments.config.clone()));
            let result = runtime.block_on(agent);
            // Dropped, it would wait for a name that is being looked up.
            runtime.shutdown_background();
            result.unwrap_or_else(|error| resume_unwind(error.into_panic()))
        }
        Err(error) => {
            ::log::error!("failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ::log::error!("{error}");
            match error {
                daemon::Error::Journal(error) => ExitCode::from(exit_code(&error)),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
