//! `downlinkd run`

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
        Ok(runtime) => runtime.block_on(daemon::run(config, arguments.config.clone())),
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
