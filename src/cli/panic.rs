//! A panic ends the process, in whichever thread or task it comes: what has lost a part of itself must not
//! live on. systemd starts a new agent.

use std::{panic, process};

use log::{Level, error, log_enabled, logger};

use super::exit_code;
use crate::edge::journal;

/// From now on. All that was logged is written first.
pub fn ends_process() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        default(panic);
        // sled's way to tell that its files are damaged.
        let error = journal::error_of_panic();
        match &error {
            Some(error) if log_enabled!(Level::Error) => error!("{error}"),
            Some(error) => eprintln!("downlinkd: {error}"),
            None => {}
        }
        logger().flush();
        match error {
            Some(error) => process::exit(exit_code(&error).into()),
            // Where panics unwind, as in a debug build, they would end the thread only.
            None => process::abort(),
        }
    }));
}
