//! COMMAND_ACK with its numbers as they are: the crate's own type holds only results that its dialect
//! knows, and an autopilot may be newer than it.

use mavlink::dialects::development::{COMMAND_ACK_DATA, MavMessage};
use mavlink::error::ParserError;
use mavlink::utils::remove_trailing_zeroes;
use mavlink::{MavlinkVersion, MessageData};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommandAck {
    pub command: u16,
    pub result: u8,
    pub progress: u8,
    /// System and component.
    pub target: (u8, u8),
}

impl MessageData for CommandAck {
    type Message = MavMessage;

    const ID: u32 = COMMAND_ACK_DATA::ID;
    const NAME: &'static str = COMMAND_ACK_DATA::NAME;
    const EXTRA_CRC: u8 = COMMAND_ACK_DATA::EXTRA_CRC;
    const ENCODED_LEN: usize = COMMAND_ACK_DATA::ENCODED_LEN;

    fn ser(&self, _: MavlinkVersion, payload: &mut [u8]) -> usize {
        let payload = &mut payload[..Self::ENCODED_LEN];
        let [command_0, command_1] = self.command.to_le_bytes();
        let (system, component) = self.target;
        // Before the target stands result_param2.
        let (result, progress) = (self.result, self.progress);
        payload.copy_from_slice(&[
            command_0, command_1, result, progress, 0, 0, 0, 0, system, component,
        ]);
        remove_trailing_zeroes(payload)
    }

    fn deser(_: MavlinkVersion, payload: &[u8]) -> Result<Self, ParserError> {
        let byte = |index: usize| payload.get(index).copied().unwrap_or(0);
        Ok(Self {
            command: u16::from_le_bytes([byte(0), byte(1)]),
            result: byte(2),
            progress: byte(3),
            target: (byte(8), byte(9)),
        })
    }
}
