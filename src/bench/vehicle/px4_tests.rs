use mavlink::dialects::development::{
    AUTOPILOT_VERSION_DATA, HEARTBEAT_DATA, MavAutopilot, MavModeFlag,
};
use mavlink::{MavlinkReader, MavlinkVersion};

use super::super::Reply;
use super::*;

const AGENT: (u8, u8) = (1, 191);

#[test]
fn sends_a_heartbeat_every_second_among_its_stream() {
    let mut bench = Bench::new();
    bench.advance(Duration::from_millis(2999));

    let heartbeats = bench.sent.iter().filter(|(_, message)| is_px4_heartbeat(message)).count();
    assert_eq!(heartbeats, 3);
    assert!(bench.sent.iter().any(|(_, message)| matches!(message, MavMessage::ATTITUDE(_))));
}

#[test]
fn counts_its_sequence_number_up_over_all_messages() {
    let mut bench = Bench::new();
    bench.advance(Duration::from_secs(20));

    assert!(bench.sent.len() > 256);
    for (index, (header, _)) in bench.sent.iter().enumerate() {
        assert_eq!(header.sequence, index as u8);
        assert_eq!((header.system_id, header.component_id), (1, 1));
    }
}

#[test]
fn answers_as_px4_does() {
    let cases = [
        (MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE, MavResult::MAV_RESULT_UNSUPPORTED),
        (MavCmd::MAV_CMD_REQUEST_CAMERA_CAPTURE_STATUS, MavResult::MAV_RESULT_UNSUPPORTED),
        (MavCmd::MAV_CMD_DO_DIGICAM_CONTROL, MavResult::MAV_RESULT_ACCEPTED),
        (MavCmd::MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN, MavResult::MAV_RESULT_ACCEPTED),
        (MavCmd::MAV_CMD_NAV_ROI, MavResult::MAV_RESULT_ACCEPTED),
    ];
    for (command, result) in cases {
        let mut bench = Bench::new();
        bench.receive(AGENT, &long(command));
        bench.advance(Duration::from_millis(100));
        assert_eq!(bench.acks(), [(command, result, AGENT)]);
    }
}

#[test]
fn reports_what_was_on_the_wire_and_what_it_answered() {
    let mut bench = Bench::new();
    let message = MavMessage::COMMAND_INT(COMMAND_INT_DATA {
        command: MavCmd::MAV_CMD_NAV_ROI,
        target_system: 1,
        target_component: 1,
        z: 30.0,
        ..COMMAND_INT_DATA::DEFAULT
    });
    let bytes = bench.receive(AGENT, &message);
    bench.advance(Duration::from_millis(100));

    let frame = CommandFrame {
        bytes,
        source: AGENT,
        target: (1, 1),
        form: Form::Int,
        command: MavCmd::MAV_CMD_NAV_ROI,
        params: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 30.0],
    };
    let answered = Event::Answered {
        command: MavCmd::MAV_CMD_NAV_ROI as u16,
        result: MavResult::MAV_RESULT_ACCEPTED as u8,
    };
    assert_eq!(bench.events, [Event::Command(frame), answered]);
}

#[test]
fn stays_silent_towards_itself_and_for_others_but_reports_the_frames() {
    let mut bench = Bench::new();
    let command = MavCmd::MAV_CMD_DO_DIGICAM_CONTROL;
    bench.receive((1, 1), &long(command));
    bench.receive(AGENT, &addressed(command, 2, 1));
    bench.receive(AGENT, &addressed(command, 1, 100));
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks(), []);
    assert_eq!(bench.events.len(), 3);

    bench.receive(AGENT, &addressed(command, 0, 0));
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks().len(), 1);
}

#[test]
fn drops_the_ninth_command_of_a_burst_silently() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        bench.receive(AGENT, &long(MavCmd::MAV_CMD_NAV_ROI));
    }
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks().len(), 8);

    bench.receive(AGENT, &long(MavCmd::MAV_CMD_NAV_ROI));
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks().len(), 9);
}

#[test]
fn answers_as_often_and_as_late_as_its_table_says() {
    let command = MavCmd::MAV_CMD_PREFLIGHT_CALIBRATION;
    let mut behaviours = Behaviours::px4();
    let reply = |result, seconds| {
        let after = Duration::from_secs(seconds);
        Reply { after, ..Reply::new(result) }
    };
    behaviours.set(
        command as u32,
        Behaviour::Answers(vec![
            reply(MavResult::MAV_RESULT_IN_PROGRESS, 0),
            reply(MavResult::MAV_RESULT_ACCEPTED, 5),
        ]),
    );
    let mut bench = Bench::with(behaviours);
    bench.receive(AGENT, &long(command));
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.acks(), [(command, MavResult::MAV_RESULT_IN_PROGRESS, AGENT)]);
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks()[1..], [(command, MavResult::MAV_RESULT_ACCEPTED, AGENT)]);
}

#[test]
fn never_answers_what_px4_leaves_to_a_camera() {
    let mut bench = Bench::new();
    bench.receive(AGENT, &long(MavCmd::MAV_CMD_REQUEST_CAMERA_INFORMATION));
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.acks(), []);
}

#[test]
fn reboots_after_the_ack_and_comes_back() {
    let mut bench = Bench::new();
    bench.receive(AGENT, &reboot_shutdown_command(1.0, 0.0));
    bench.advance(Duration::from_millis(350));
    assert_eq!(bench.acks()[0].1, MavResult::MAV_RESULT_ACCEPTED);

    bench.advance(Duration::from_millis(100));
    let before = bench.sent.len();
    bench.receive(AGENT, &long(MavCmd::MAV_CMD_NAV_ROI));
    bench.advance(Duration::from_secs(3));
    assert_eq!(bench.sent.len(), before, "a rebooting vehicle is silent");

    bench.advance(Duration::from_secs(2));
    assert!(bench.sent[before..].iter().any(|(_, message)| is_px4_heartbeat(message)));
    assert_eq!(bench.acks().len(), 1, "what came while it was down is lost");
}

#[test]
fn sends_a_message_that_it_is_asked_for() {
    let mut bench = Bench::new();
    let ask = |id: u32| {
        let MavMessage::COMMAND_LONG(mut ask) = long(MavCmd::MAV_CMD_REQUEST_MESSAGE) else {
            unreachable!("long() makes one")
        };
        ask.param1 = id as f32;
        MavMessage::COMMAND_LONG(ask)
    };
    bench.receive(AGENT, &ask(AUTOPILOT_VERSION_DATA::ID));
    // STATUSTEXT
    bench.receive(AGENT, &ask(253));
    bench.advance(Duration::from_millis(100));
    let is_version = |(_, message): &(MavHeader, MavMessage)| matches!(message, MavMessage::AUTOPILOT_VERSION(it) if it.flight_sw_version == 0x0112_00ff);
    assert_eq!(bench.sent.iter().filter(|sent| is_version(sent)).count(), 1);
    let results: Vec<MavResult> = bench.acks().iter().map(|ack| ack.1).collect();
    assert_eq!(results, [MavResult::MAV_RESULT_ACCEPTED, MavResult::MAV_RESULT_DENIED]);
}

#[test]
fn streams_as_much_as_px4_does_onboard() {
    let mut bench = Bench::new();
    bench.px4 = Px4::new(bench.now, Behaviours::px4()).with_telemetry(Telemetry::Onboard);
    bench.advance(Duration::from_millis(9_999));
    let frames = bench.sent.len();
    assert!((5_180..=5_220).contains(&frames), "{frames} frames in 10 s");
    assert!((325_000..=335_000).contains(&bench.bytes), "{} bytes in 10 s", bench.bytes);
}

#[test]
fn tells_at_once_that_it_is_armed_and_denies_a_reboot_then() {
    let mut bench = Bench::new();
    bench.advance(Duration::from_millis(500));
    bench.px4.set_armed(bench.now, true);
    bench.advance(Duration::ZERO);
    let MavMessage::HEARTBEAT(heartbeat) =
        &bench.sent.iter().rev().find(|(_, message)| is_px4_heartbeat(message)).unwrap().1
    else {
        unreachable!("is_px4_heartbeat says so")
    };
    assert!(heartbeat.base_mode.contains(MavModeFlag::MAV_MODE_FLAG_SAFETY_ARMED));

    bench.receive(AGENT, &reboot_shutdown_command(1.0, 0.0));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.acks()[0].1, MavResult::MAV_RESULT_DENIED);
    // Nothing to do for the autopilot.
    bench.receive(AGENT, &reboot_shutdown_command(0.0, 0.0));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.acks()[1].1, MavResult::MAV_RESULT_ACCEPTED);
}

#[test]
fn denies_what_belongs_to_the_other_form() {
    let int = |x, y| {
        let command = MavCmd::MAV_CMD_DO_SET_ROI_LOCATION;
        let (target_system, target_component) = (1, 1);
        let default = COMMAND_INT_DATA::DEFAULT;
        let data = COMMAND_INT_DATA { command, target_system, target_component, x, y, ..default };
        MavMessage::COMMAND_INT(data)
    };
    let nan = f32::NAN.to_bits() as i32;
    let unset = reboot_shutdown_command(i32::MAX as f32, 0.0);
    for (message, result) in [
        (int(i32::MAX, i32::MAX), MavResult::MAV_RESULT_ACCEPTED),
        (int(-5_000_000, 0), MavResult::MAV_RESULT_ACCEPTED),
        (int(nan, 0), MavResult::MAV_RESULT_DENIED),
        (int(0, nan), MavResult::MAV_RESULT_DENIED),
        (unset, MavResult::MAV_RESULT_DENIED),
    ] {
        let mut bench = Bench::new();
        bench.receive(AGENT, &message);
        bench.advance(Duration::from_millis(100));
        assert_eq!(bench.acks()[0].1, result, "{message:?}");
    }
}

#[test]
fn refuses_the_other_form() {
    let command = MavCmd::MAV_CMD_NAV_ROI;
    let mut behaviours = Behaviours::px4();
    let accepted = vec![Reply::new(MavResult::MAV_RESULT_ACCEPTED)];
    behaviours.set(command as u32, Behaviour::Only(Form::Int, accepted));
    let mut bench = Bench::with(behaviours);
    bench.receive(AGENT, &long(command));
    let int = COMMAND_INT_DATA {
        command,
        target_system: 1,
        target_component: 1,
        ..COMMAND_INT_DATA::DEFAULT
    };
    bench.receive(AGENT, &MavMessage::COMMAND_INT(int));
    bench.advance(Duration::from_millis(100));
    let results: Vec<MavResult> = bench.acks().iter().map(|ack| ack.1).collect();
    assert_eq!(results, [MavResult::MAV_RESULT_COMMAND_INT_ONLY, MavResult::MAV_RESULT_ACCEPTED]);
}

#[test]
fn a_camera_is_heard_only_when_it_is_forwarded() {
    let command = MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE;
    for (camera, answers) in [(Camera::Absent, 0), (Camera::Unforwarded, 0), (Camera::Forwarded, 1)]
    {
        let mut bench = Bench::new();
        bench.px4 = Px4::new(bench.now, Behaviours::px4()).with_camera(camera);
        bench.receive(AGENT, &addressed(command, 1, CAMERA));
        bench.advance(Duration::from_millis(500));
        assert_eq!(bench.acks().len(), answers, "{camera:?}");
        assert_eq!(bench.sent.iter().any(|(header, _)| header.component_id == CAMERA), answers > 0);
    }
}

#[test]
fn a_broadcast_is_answered_twice_and_not_alike() {
    let command = MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE;
    let mut bench = Bench::new();
    bench.px4 = Px4::new(bench.now, Behaviours::px4()).with_camera(Camera::Forwarded);
    bench.receive(AGENT, &addressed(command, 1, 0));
    bench.advance(Duration::from_millis(500));
    let results: Vec<MavResult> = bench.acks().iter().map(|ack| ack.1).collect();
    assert_eq!(results, [MavResult::MAV_RESULT_UNSUPPORTED, MavResult::MAV_RESULT_ACCEPTED]);
}

#[test]
fn with_a_key_only_what_is_signed_with_it_counts_and_only_once() {
    let unix = Duration::from_secs(1_781_481_600);
    let mut bench = Bench::new();
    let key = [7; 32];
    bench.px4 =
        Px4::new(bench.now, Behaviours::px4()).with_signing(Signing::new(key, bench.now, unix));
    let command = MavCmd::MAV_CMD_NAV_ROI;
    bench.receive(AGENT, &long(command));

    let sealed = |key| {
        let mut frame = bytes(&encode(AGENT, &long(command)));
        Signing::new(key, Instant::now(), unix).sign(
            Instant::now(),
            &mut frame,
            COMMAND_LONG_DATA::EXTRA_CRC,
        );
        let mut reader = MavlinkReader::new(frame.as_slice());
        reader.read_any_raw_message::<MavMessage>().unwrap()
    };
    bench.px4.receive(bench.now, &sealed([8; 32]));
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks(), []);

    let genuine = sealed(key);
    bench.px4.receive(bench.now, &genuine);
    bench.px4.receive(bench.now, &genuine);
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.acks(), [(command, MavResult::MAV_RESULT_ACCEPTED, AGENT)]);
}

#[test]
fn shuts_down_for_good() {
    let mut bench = Bench::new();
    bench.receive(AGENT, &reboot_shutdown_command(2.0, 0.0));
    bench.advance(Duration::from_secs(1));
    let before = bench.sent.len();
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.sent.len(), before);
    assert_eq!(bench.px4.next_due(), None);
}

#[test]
fn denies_a_forced_reboot() {
    let mut bench = Bench::new();
    bench.receive(AGENT, &reboot_shutdown_command(1.0, 20190226.0));
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.acks()[0].1, MavResult::MAV_RESULT_DENIED);
    assert!(bench.px4.next_due().is_some());
}

#[test]
fn reports_a_heartbeat_of_somebody_else() {
    let mut bench = Bench::new();
    bench.receive(AGENT, &MavMessage::HEARTBEAT(HEARTBEAT_DATA::DEFAULT));
    assert_eq!(bench.events, [Event::Heartbeat { source: AGENT }]);
}

#[test]
fn reports_a_command_that_the_dialect_does_not_know() {
    let mut bench = Bench::new();
    let mut raw = encode(AGENT, &long(MavCmd::MAV_CMD_NAV_ROI));
    let MAVLinkMessageRaw::V2(frame) = &mut raw else { unreachable!("encode writes MAVLink 2") };
    // COMMAND_LONG.command is at offset 28 of the payload, after a header of ten bytes.
    frame.as_mut_slice()[38..40].copy_from_slice(&60_000_u16.to_le_bytes());
    let event = bench.px4.receive(bench.now, &raw);
    assert_eq!(event, Some(Event::Undecodable { bytes: bytes(&raw) }));
}

/// A vehicle in virtual time, with all that it has sent.
struct Bench {
    px4: Px4,
    now: Instant,
    sent: Vec<(MavHeader, MavMessage)>,
    bytes: usize,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Behaviours::px4())
    }

    fn with(behaviours: Behaviours) -> Self {
        let now = Instant::now();
        let px4 = Px4::new(now, behaviours);
        Self { px4, now, sent: Vec::new(), bytes: 0, events: Vec::new() }
    }

    fn receive(&mut self, source: (u8, u8), message: &MavMessage) -> Vec<u8> {
        let raw = encode(source, message);
        self.events.extend(self.px4.receive(self.now, &raw));
        bytes(&raw)
    }

    /// Sleeps from deadline to deadline, as the thread does.
    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(outgoing) = self.px4.poll(self.now) {
                self.bytes += outgoing.bytes.len();
                let mut reader = MavlinkReader::new(outgoing.bytes.as_slice());
                self.sent.push(reader.read_message(MavlinkVersion::V2).unwrap());
                self.events.extend(outgoing.event);
            }
            match self.px4.next_due().filter(|due| *due <= end) {
                Some(due) => self.now = due,
                None => break,
            }
        }
        self.now = end;
    }

    fn acks(&self) -> Vec<(MavCmd, MavResult, (u8, u8))> {
        let acks = self.sent.iter().filter_map(|(_, message)| match message {
            MavMessage::COMMAND_ACK(ack) => {
                Some((ack.command, ack.result, (ack.target_system, ack.target_component)))
            }
            _ => None,
        });
        acks.collect()
    }
}

fn encode(source: (u8, u8), message: &MavMessage) -> MAVLinkMessageRaw {
    let header = MavHeader { system_id: source.0.into(), component_id: source.1, sequence: 0 };
    let mut raw = MAVLinkV2MessageRaw::new();
    raw.serialize_message(header, message);
    MAVLinkMessageRaw::V2(raw)
}

fn long(command: MavCmd) -> MavMessage {
    addressed(command, 1, 1)
}

fn addressed(command: MavCmd, target_system: u8, target_component: u8) -> MavMessage {
    MavMessage::COMMAND_LONG(COMMAND_LONG_DATA {
        command,
        target_system,
        target_component,
        ..COMMAND_LONG_DATA::DEFAULT
    })
}

fn reboot_shutdown_command(param1: f32, param7: f32) -> MavMessage {
    MavMessage::COMMAND_LONG(COMMAND_LONG_DATA {
        command: MavCmd::MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN,
        target_system: 1,
        target_component: 1,
        param1,
        param7,
        ..COMMAND_LONG_DATA::DEFAULT
    })
}

fn is_px4_heartbeat(message: &MavMessage) -> bool {
    let expected = MavAutopilot::MAV_AUTOPILOT_PX4;
    matches!(message, MavMessage::HEARTBEAT(heartbeat) if heartbeat.autopilot == expected)
}
