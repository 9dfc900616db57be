//! Which commands somebody wants to see.

use super::record::Record;
use super::status::Status;

/// `None`: whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// At most so many, the newest ones.
    pub limit: usize,
    pub status: Option<Status>,
    pub api_id: Option<String>,
    pub command_type: Option<String>,
}

impl Selection {
    pub fn takes(&self, record: &Record) -> bool {
        let Self { limit: _, status, api_id, command_type } = self;
        status.is_none_or(|it| it == record.status)
            && api_id.as_ref().is_none_or(|it| *it == record.api_id)
            && command_type.as_ref().is_none_or(|it| *it == record.command_type)
    }
}
