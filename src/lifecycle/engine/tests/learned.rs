//! Whose commands these are is learned from the first HEARTBEAT of an autopilot, and stays.

use super::harness::{EXTRA, guard, learning, settings, two_links};
use super::*;
use crate::guard::explain::{Layer, Verdict};
use crate::guard::grants::{Action, GrantRequest, Scope};

const VEHICLE: Address = Address { system: 3, component: 1 };
const ANOTHER: Address = Address { system: 5, component: 1 };
const ITS_CAMERA: Address = Address { system: 3, component: 100 };

const NOT_YET: &str = "no heartbeat of an autopilot yet, and [link] target_system is \"auto\"";

/// The port is open, and nobody has spoken.
fn open(mode: Mode) -> Harness {
    let mut it = Harness::with_settings(learning(settings()), guard(mode, []));
    it.input(Input::LinkOpened(LinkId::MAIN));
    it.drain();
    it
}

fn hear(it: &mut Harness, source: Address) {
    it.input(Input::Heartbeat(LinkId::MAIN, heartbeat(source), Duration::ZERO));
}

fn open_and_hear(it: &mut Harness, source: Address) {
    it.input(Input::LinkOpened(LinkId::MAIN));
    hear(it, source);
    it.drain();
}

#[test]
fn nothing_is_sent_before_an_autopilot_has_spoken_and_then_to_it_alone() {
    let mut it = open(Mode::Guarded);
    let early = it.request("do_digicam_control", "early");
    it.drain();
    it.expect(early, Status::Failed, Code::TransportNotReady);
    let record = it.record(early);
    assert!(record.message.unwrap().contains(NOT_YET));
    assert_eq!((record.target.system, record.target.component), (0, 1));

    assert_eq!(it.engine.link_state(LinkId::MAIN), LinkState::Open);
    hear(&mut it, ITS_CAMERA);
    it.ack(ack(Address { system: 0, component: 1 }, DIGICAM, 0));
    assert_eq!(it.drain(), ["unmatched 203"]);
    hear(&mut it, VEHICLE);
    assert_eq!(it.drain(), ["learned 3/1"]);
    hear(&mut it, VEHICLE);
    hear(&mut it, ANOTHER);
    assert_eq!(it.drain(), [""; 0], "once, and no other");
    assert_eq!(it.engine.link_state(LinkId::MAIN), LinkState::Ready);

    it.request("do_digicam_control", "early");
    assert_eq!(it.drain(), ["acknowledge", "reply FAILED duplicate"]);
    assert!(it.frames.is_empty());

    let id = it.request_and_send("do_digicam_control", "a");
    assert_eq!(it.frames[0].target, VEHICLE);
    for source in [AUTOPILOT, ANOTHER] {
        it.ack(ack(source, DIGICAM, 2));
        assert_eq!(it.drain(), ["unmatched 203"]);
    }
    it.ack(ack(VEHICLE, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
}

#[test]
fn other_reasons_come_first() {
    let mut it = open(Mode::Disabled);
    let id = it.request("do_digicam_control", "a");
    it.drain();
    it.expect(id, Status::Failed, Code::GuardDisabled);

    let mut it = open(Mode::Guarded);
    it.link_down();
    let id = it.request("do_digicam_control", "a");
    it.drain();
    let message = it.record(id).message.unwrap();
    assert_eq!(message, "the link to the target is not ready: its port is not open");
}

#[test]
fn the_guard_explains_and_grants_by_what_was_learned() {
    let mut it = open(Mode::Guarded);
    let transport = |it: &Harness| {
        let request = harness::request("do_digicam_control", "a");
        let mut layers = it.engine.explain(&it.now, &request).into_iter();
        layers.find(|(layer, _)| *layer == Layer::Transport).unwrap().1
    };
    let grant = Action::Open(GrantRequest {
        scopes: vec![Scope::Command("nav_roi")],
        duration: seconds(60),
        count: 1,
        issuer: None,
        reason: None,
    });
    match transport(&it) {
        Verdict::Refuses(refusal) => assert!(refusal.message.contains(NOT_YET)),
        verdict => panic!("{verdict:?}"),
    }
    it.grant(grant.clone());
    assert_eq!(it.drain(), ["grant refused transport.not_ready"]);
    hear(&mut it, VEHICLE);
    it.drain();
    assert_eq!(transport(&it), Verdict::Passes);
    it.grant(grant);
    assert_eq!(it.drain(), ["grant reply", "grants changed, 0 ended"]);
}

#[test]
fn it_stays_when_another_speaks_first_at_a_reopened_port() {
    let mut it = open(Mode::Guarded);
    hear(&mut it, VEHICLE);
    it.link_down();
    open_and_hear(&mut it, ANOTHER);
    let refused = it.request("do_digicam_control", "a");
    it.drain();
    it.expect(refused, Status::Failed, Code::TransportNotReady);
    assert!(it.record(refused).message.unwrap().contains("no heartbeat of autopilot 3/1"));
    hear(&mut it, VEHICLE);
    it.request_and_send("do_digicam_control", "b");
    assert_eq!(it.frames[0].target, VEHICLE);
}

#[test]
fn an_extra_link_leads_to_the_learned_systems_components_and_teaches_nothing() {
    let mut it = Harness::with_settings(learning(two_links(settings())), guard(Mode::Guarded, []));
    let to_camera = |request: &mut CommandRequest| request.target_component = Some(100);
    for link in [LinkId::MAIN, EXTRA] {
        it.input(Input::LinkOpened(link));
    }
    it.input(Input::Heartbeat(EXTRA, heartbeat(ANOTHER), Duration::ZERO));
    it.input(Input::Heartbeat(EXTRA, heartbeat(ITS_CAMERA), Duration::ZERO));
    let early = it.with_request("image_stop_capture", "early", to_camera);
    it.drain();
    it.expect(early, Status::Failed, Code::TransportNotReady);
    let message = it.record(early).message.unwrap();
    assert!(message.starts_with("the link camera is not ready: no heartbeat of an autopilot yet"));

    hear(&mut it, VEHICLE);
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Open, "who was heard before is not known");
    it.input(Input::Heartbeat(
        EXTRA,
        heartbeat(Address { system: 5, ..ITS_CAMERA }),
        Duration::ZERO,
    ));
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Open);
    it.input(Input::Heartbeat(EXTRA, heartbeat(ITS_CAMERA), Duration::ZERO));
    let id = it.with_request("image_stop_capture", "a", to_camera);
    it.drain();
    it.sent();
    it.input(Input::CommandAck(EXTRA, ack(ITS_CAMERA, STOP_CAPTURE, 0)));
    it.drain();
    assert_eq!((it.links[0], it.frames[0].target), (EXTRA, ITS_CAMERA));
    assert_eq!(it.record(id).status, Status::Succeeded);
}

#[test]
fn what_waited_over_a_restart_goes_to_the_system_that_it_was_accepted_for_or_nowhere() {
    let configured = |system| Autopilot { system: Some(system), component: 1 };
    let auto = Autopilot { system: None, component: 1 };
    let lost = Some((Status::Failed, Code::TransportLost));
    let timed_out = Some((Status::TimedOut, Code::TimeoutQueue));
    for (accepted_for, target, heard, ending) in [
        (3, auto, Some(3), None),
        (3, configured(3), Some(3), None),
        (3, auto, Some(5), lost),
        (3, auto, None, timed_out),
        (3, configured(5), Some(5), lost),
        (3, configured(5), Some(3), lost),
        (3, configured(5), None, lost),
        (0, auto, Some(3), lost),
        (0, auto, None, timed_out),
        (0, configured(1), Some(1), lost),
    ] {
        let mut it = open(Mode::Guarded);
        hear(&mut it, VEHICLE);
        it.request_and_send("do_digicam_control", "blocker");
        let id = it.request("do_digicam_control", "a");
        it.drain();
        assert_eq!(it.frames.len(), 1);
        it.journal.records.get_mut(&id).unwrap().target.system = accepted_for;
        it.settings.target = target;
        it.crash(seconds(1));
        it.input(Input::LinkOpened(LinkId::MAIN));
        it.drain();
        // Out of the way, from whom it went to.
        it.ack(ack(VEHICLE, DIGICAM, 0));
        it.drain();
        if let Some(system) = heard {
            hear(&mut it, Address { system, component: 1 });
            it.drain();
        }
        let what = format!("accepted for {accepted_for}, {target:?}, heard {heard:?}");
        match ending {
            None => assert_eq!(it.frames[1].target, VEHICLE, "{what}"),
            Some(ending) => {
                it.pass(seconds(30));
                it.drain();
                let Record { status, cause, .. } = it.record(id);
                assert_eq!((status, cause), (ending.0, Some(ending.1.into())), "{what}");
                assert_eq!(it.frames.len(), 1, "{what}");
            }
        }
    }
}

#[test]
fn what_may_be_out_waits_for_the_answer_of_whom_it_went_to() {
    let camera_by_its_link = (EXTRA, ITS_CAMERA);
    for (link, target) in [(LinkId::MAIN, VEHICLE), camera_by_its_link] {
        for speaks in [None, Some(VEHICLE), Some(ANOTHER)] {
            let settings = learning(two_links(settings()));
            let mut it = Harness::with_settings(settings, guard(Mode::Guarded, []));
            it.input(Input::LinkOpened(EXTRA));
            open_and_hear(&mut it, VEHICLE);
            it.input(Input::Heartbeat(EXTRA, heartbeat(ITS_CAMERA), Duration::ZERO));
            let id = it.with_request("image_stop_capture", "a", |request| {
                request.target_component = (target == ITS_CAMERA).then_some(target.component);
            });
            it.drain();
            it.sent();
            it.drain();
            it.crash(seconds(1));
            it.input(Input::LinkOpened(EXTRA));
            it.input(Input::LinkOpened(LinkId::MAIN));
            if let Some(speaks) = speaks {
                hear(&mut it, speaks);
            }
            let of_another = Address { system: ANOTHER.system, ..target };
            it.input(Input::CommandAck(link, ack(of_another, STOP_CAPTURE, 2)));
            it.drain();
            assert!(it.record(id).is_undecided(), "{target} {speaks:?}");
            it.input(Input::CommandAck(link, ack(target, STOP_CAPTURE, 0)));
            it.drain();
            assert_eq!(it.record(id).status, Status::Succeeded, "{target} {speaks:?}");
            assert_eq!(it.frames.len(), 1);
        }
    }
}

#[test]
fn another_system_makes_no_other_content_and_another_component_does() {
    let mut it = Harness::ready();
    it.request_and_send("image_stop_capture", "a");
    for system in [None, Some(5)] {
        it.settings.target.system = system;
        it.crash(seconds(1));
        open_and_hear(&mut it, ANOTHER);
        it.request("image_stop_capture", "a");
        assert_eq!(it.drain(), ["acknowledge", "reply ACCEPTED duplicate"], "{system:?}");
        it.with_request("image_stop_capture", "a", |it| it.target_component = Some(100));
        assert_eq!(it.drain(), ["acknowledge", "reply error idempotency.conflict"], "{system:?}");
    }
    assert_eq!(it.frames.len(), 1);
}
