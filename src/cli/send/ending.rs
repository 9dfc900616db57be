//! How following a command ends, and the exit code that says so.

use crate::lifecycle::status::Status;

macro_rules! endings {
    ($($variant:ident = $code:literal, $meaning:literal;)*) => {
        /// How it ended. The exit codes never change once they have shipped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Ending {
            $(#[doc = $meaning] $variant,)*
        }

        impl Ending {
            /// Exit code and meaning of each, for the help and the man page.
            pub const TABLE: &[(u8, &str)] = &[$(($code, $meaning),)*];

            pub const fn code(self) -> u8 {
                match self { $(Ending::$variant => $code,)* }
            }
        }
    };
}

endings! {
    Succeeded = 0, "SUCCEEDED: the vehicle accepted the command";
    Failed = 2, "FAILED: refused by the guard or by the vehicle, or not writable";
    TimedOut = 3, "TIMED_OUT: the deadline passed without an answer that decides";
    UnmatchedResponse = 4, "UNMATCHED_RESPONSE: an answer came too late, or from another component";
    Delivered = 5, "DELIVERED was the last word (--timeout 0): sent, and nobody waits for an answer";
    Accepted = 6, "ACCEPTED was the last word (--no-wait)";
    Refused = 7, "refused: no command was made, and nothing was sent to the vehicle";
    Unreachable = 8, "the broker could not be reached: nothing was published";
    Unknown = 9, "published, and what became of it is not known; the same --idempotency-key asks again";
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        match status {
            Status::Accepted => Ending::Accepted,
            Status::Delivered => Ending::Delivered,
            Status::Succeeded => Ending::Succeeded,
            Status::Failed => Ending::Failed,
            Status::TimedOut => Ending::TimedOut,
            Status::UnmatchedResponse => Ending::UnmatchedResponse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_succeeded_is_0_and_every_other_code_is_its_own() {
        assert_eq!(Ending::from(Status::Succeeded).code(), 0);
        let mut codes: Vec<u8> = Ending::TABLE.iter().map(|(code, _)| *code).collect();
        codes.dedup();
        assert_eq!(codes.len(), 9);
        assert!(codes.is_sorted());
        // 1 is every other failure of the program, from 64 on are those of sysexits.h.
        assert!(codes.iter().all(|code| *code != 1 && *code < 64));
    }
}
