//! A port that is not watched for a while after each reading.

use super::*;

const REST: Duration = Duration::from_millis(20);

impl Running {
    fn receive(&self, bytes: Vec<u8>) {
        self.port.change(|script| script.to_read.push_back(Ok(bytes)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_rest_is_read_after_it() {
    let mut running = Running::start().await;
    running.port.change(|script| script.rest = Some(REST));
    running.receive(ack_bytes());
    running.settle().await;
    assert_eq!(running.seen(), [ack_event()]);
    running.receive(ack_bytes());
    running.pass(REST - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(MILLISECOND).await;
    assert_eq!(running.seen(), [ack_event()]);
}

#[tokio::test(start_paused = true)]
async fn while_an_answer_may_come_there_is_no_rest() {
    let mut running = Running::start().await;
    running.port.change(|script| (script.rest, script.room) = (Some(REST), 10_000));
    running.receive(ack_bytes());
    running.settle().await;
    assert_eq!(running.seen(), [ack_event()]);
    running.send(1);
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }]);
    for _ in 0..3 {
        running.receive(ack_bytes());
        running.settle().await;
        assert_eq!(running.seen(), [ack_event()]);
    }
    running.pass(ANSWER_TIME).await;
    running.receive(ack_bytes());
    running.settle().await;
    assert_eq!(running.seen(), [ack_event()], "the first one after it");
    running.receive(ack_bytes());
    running.settle().await;
    assert_eq!(running.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_read_yet_is_no_pause_inside_of_a_frame() {
    let rest = 2 * STREAM_PAUSE;
    let mut running = Running::start().await;
    running.port.change(|script| script.rest = Some(rest));
    let frame = ack_bytes();
    let (begin, end) = frame.split_at(frame.len() / 2);
    running.receive(begin.to_vec());
    running.settle().await;
    running.receive(end.to_vec());
    running.pass(rest).await;
    assert_eq!(running.seen(), [ack_event()]);

    // Nothing comes after this but the pause.
    running.receive([&[0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0], &ack_bytes()[..]].concat());
    running.pass(rest).await;
    running.pass(rest + STREAM_PAUSE - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [ack_event()]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_ends_no_rest() {
    let mut running = Running::start().await;
    running.port.change(|script| (script.rest, script.room) = (Some(2 * HEARTBEAT_PERIOD), 10_000));
    running.receive(ack_bytes());
    running.settle().await;
    assert_eq!(running.seen(), [ack_event()]);
    running.receive(ack_bytes());
    running.pass(HEARTBEAT_PERIOD).await;
    assert_eq!(running.port.change(|script| script.written.len()), 2 * HEARTBEAT_LENGTH);
    assert_eq!(running.seen(), []);
}
