//! What the vehicle's messages say of one command. Pure.

use serde::Deserialize;
use uuid::Uuid;

use super::ending::Ending;
use crate::code::Code;
use crate::lifecycle::status::Status;

/// Follows one command by its messages, in the order in which they come.
#[derive(Debug)]
pub struct Follow {
    command_id: Uuid,
    /// Of the request's body, by which an error reply names it.
    request_sha256: String,
    /// To its end, and not only to its create reply.
    to_the_end: bool,
    /// Of the last update.
    seq: Option<u64>,
    /// The agent has the command.
    known: bool,
}

/// What one message means.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Of another command, or said before.
    Nothing,
    /// `None`: nothing that was not shown already.
    News(Option<Step>, Next),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Wait,
    /// A query is to say what became of it.
    Ask,
    End(Ending),
}

/// Something to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Status {
        status: Status,
        /// Percent.
        progress: Option<u8>,
        code: Option<String>,
        message: Option<String>,
        /// What the catalogue knows of traps, once at the end.
        advice: Vec<String>,
    },
    /// The key was used before, and nothing is sent again; this is where its command stands.
    Duplicate(Status),
    /// Everything that is wrong, as code and message.
    Refused(Vec<(String, String)>),
}

/// Any answer; which one it is shows in what it has.
#[derive(Deserialize)]
struct Message {
    command_id: Option<Uuid>,
    status: Option<Status>,
    seq: Option<u64>,
    #[serde(default)]
    terminal: bool,
    progress: Option<u8>,
    response_code: Option<String>,
    response_message: Option<String>,
    vendor_response: Option<VendorResponse>,
    duplicate: Option<bool>,
    error: Option<Refusal>,
    request_sha256: Option<String>,
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct VendorResponse {
    #[serde(default)]
    advice: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
    #[serde(default)]
    violations: Vec<Violation>,
}

#[derive(Deserialize)]
struct Violation {
    code: String,
    message: String,
}

impl Follow {
    pub fn new(command_id: Uuid, request_sha256: String, to_the_end: bool) -> Self {
        Self { command_id, request_sha256, to_the_end, seq: None, known: false }
    }

    /// The agent has the command, so its request need not be repeated.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The `request_id` of our queries.
    pub fn query_id(&self) -> String {
        format!("send-{}", self.command_id)
    }

    /// Takes in a message of the replies or lifecycle topics.
    pub fn hear(&mut self, payload: &[u8]) -> Heard {
        let Ok(message) = serde_json::from_slice::<Message>(payload) else { return Heard::Nothing };
        if let Some(error) = message.error {
            let is_answer = message.request_sha256.as_ref() == Some(&self.request_sha256);
            let to_query = message.request_id.as_ref() == Some(&self.query_id());
            return match is_answer || to_query {
                true => Heard::News(Some(error.step()), Next::End(error.ending())),
                false => Heard::Nothing,
            };
        }
        match (message.status, message.seq, message.duplicate) {
            _ if message.command_id != Some(self.command_id) => Heard::Nothing,
            (Some(status), Some(seq), _) => self.updated(status, seq, message),
            (Some(status), None, Some(duplicate)) => self.created(status, duplicate),
            _ => Heard::Nothing,
        }
    }

    fn created(&mut self, status: Status, duplicate: bool) -> Heard {
        let first = !std::mem::replace(&mut self.known, true);
        if duplicate {
            // A repetition of our own, after a lost connection, is no news to anybody.
            let step = first.then_some(Step::Duplicate(status));
            let next = if self.to_the_end { Next::Ask } else { Next::End(status.into()) };
            return Heard::News(step, next);
        }
        let step = first.then(|| Step::Status {
            status,
            progress: None,
            code: None,
            message: None,
            advice: Vec::new(),
        });
        Heard::News(step, if self.to_the_end { Next::Wait } else { Next::End(status.into()) })
    }

    fn updated(&mut self, status: Status, seq: u64, message: Message) -> Heard {
        if self.seq.is_some_and(|last| seq <= last) {
            return Heard::Nothing;
        }
        self.seq = Some(seq);
        // The create reply has said so already.
        let is_shown = std::mem::replace(&mut self.known, true) && status == Status::Accepted;
        let step = (!is_shown).then(|| Step::Status {
            status,
            progress: message.progress,
            code: message.response_code,
            message: message.response_message,
            advice: match message.terminal {
                true => message.vendor_response.map(|it| it.advice).unwrap_or_default(),
                false => Vec::new(),
            },
        });
        let ends = message.terminal || !self.to_the_end;
        Heard::News(step, if ends { Next::End(status.into()) } else { Next::Wait })
    }
}

impl Refusal {
    fn step(&self) -> Step {
        let one = [(self.code.clone(), self.message.clone())];
        let all = self.violations.iter().map(|it| (it.code.clone(), it.message.clone()));
        Step::Refused(if self.violations.is_empty() { one.to_vec() } else { all.collect() })
    }

    /// Only an answer to a query says `query.not_found`: the request may still be on its way.
    fn ending(&self) -> Ending {
        match self.code == Code::QueryNotFound.as_str() {
            true => Ending::Unknown,
            false => Ending::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "cf5b3dfa-339a-5d13-9e6a-e639ae089507";

    fn follow(to_the_end: bool) -> Follow {
        Follow::new(ID.parse().unwrap(), "ab".to_owned(), to_the_end)
    }

    fn created(status: &str, duplicate: bool) -> Value {
        json!({"command_id": ID, "status": status, "accepted_at": "…", "idempotency_key": "k",
            "duplicate": duplicate})
    }

    fn update(status: &str, seq: u64, terminal: bool) -> Value {
        json!({"command_id": ID, "status": status, "seq": seq, "terminal": terminal,
            "response_code": null, "response_message": null, "progress": null,
            "vendor_response": {"advice": ["a trap"]}})
    }

    fn hear(follow: &mut Follow, message: Value) -> Heard {
        follow.hear(message.to_string().as_bytes())
    }

    fn status(status: Status) -> Step {
        Step::Status { status, progress: None, code: None, message: None, advice: Vec::new() }
    }

    #[test]
    fn from_the_create_reply_to_the_end() {
        let mut follow = follow(true);
        assert!(!follow.is_known());
        let heard = hear(&mut follow, created("ACCEPTED", false));
        assert_eq!(heard, Heard::News(Some(status(Status::Accepted)), Next::Wait));
        assert!(follow.is_known());
        // Still a message to print as it is.
        assert_eq!(hear(&mut follow, update("ACCEPTED", 1, false)), Heard::News(None, Next::Wait));
        let heard = hear(&mut follow, update("DELIVERED", 2, false));
        assert_eq!(heard, Heard::News(Some(status(Status::Delivered)), Next::Wait));
        // At least once.
        assert_eq!(hear(&mut follow, update("DELIVERED", 2, false)), Heard::Nothing);
        assert_eq!(hear(&mut follow, update("ACCEPTED", 1, false)), Heard::Nothing);
        let mut progress = update("DELIVERED", 3, false);
        progress["progress"] = json!(40);
        progress["response_code"] = json!("MAV_RESULT_IN_PROGRESS");
        let Heard::News(Some(Step::Status { progress, code, .. }), Next::Wait) =
            hear(&mut follow, progress)
        else {
            panic!("progress is news");
        };
        assert_eq!((progress, code.as_deref()), (Some(40), Some("MAV_RESULT_IN_PROGRESS")));
        let Heard::News(Some(Step::Status { advice, .. }), Next::End(Ending::Succeeded)) =
            hear(&mut follow, update("SUCCEEDED", 5, true))
        else {
            panic!("it ends");
        };
        assert_eq!(advice, ["a trap"]);
    }

    #[test]
    fn every_status_that_ends_it() {
        for (text, ending) in [
            ("DELIVERED", Ending::Delivered),
            ("SUCCEEDED", Ending::Succeeded),
            ("FAILED", Ending::Failed),
            ("TIMED_OUT", Ending::TimedOut),
            ("UNMATCHED_RESPONSE", Ending::UnmatchedResponse),
        ] {
            let Heard::News(Some(_), Next::End(ended)) =
                hear(&mut follow(true), update(text, 2, true))
            else {
                panic!("{text} ends it");
            };
            assert_eq!(ended, ending);
        }
    }

    #[test]
    fn a_duplicate_is_asked_about() {
        let mut one = follow(true);
        let heard = hear(&mut one, created("FAILED", true));
        assert_eq!(heard, Heard::News(Some(Step::Duplicate(Status::Failed)), Next::Ask));
        // Our own repetition.
        assert_eq!(hear(&mut one, created("FAILED", true)), Heard::News(None, Next::Ask));
        let mut answer = update("FAILED", 3, true);
        answer["request_id"] = json!(one.query_id());
        assert!(matches!(hear(&mut one, answer), Heard::News(Some(_), Next::End(Ending::Failed))));
    }

    #[test]
    fn the_create_reply_is_enough() {
        for (message, ending) in [
            (created("ACCEPTED", false), Ending::Accepted),
            (created("SUCCEEDED", true), Ending::Succeeded),
            (update("DELIVERED", 2, false), Ending::Delivered),
        ] {
            let Heard::News(Some(_), Next::End(ended)) = hear(&mut follow(false), message) else {
                panic!("it ends");
            };
            assert_eq!(ended, ending);
        }
    }

    #[test]
    fn a_refusal_with_everything_that_is_wrong() {
        let error = json!({"error": {"code": "auth.stale", "message": "old", "field": null},
            "idempotency_key": null, "request_sha256": "ab"});
        let refused = Step::Refused(vec![("auth.stale".to_owned(), "old".to_owned())]);
        assert_eq!(
            hear(&mut follow(true), error),
            Heard::News(Some(refused), Next::End(Ending::Refused))
        );
        let error = json!({"error": {"code": "a", "message": "A", "violations":
            [{"code": "a", "message": "A"}, {"code": "b", "message": "B", "field": "x"}]},
            "request_sha256": "ab"});
        let Heard::News(Some(Step::Refused(all)), _) = hear(&mut follow(true), error) else {
            panic!("it is refused");
        };
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_query_that_finds_nothing_knows_nothing() {
        let mut follow = follow(true);
        let error = json!({"error": {"code": "query.not_found", "message": "no such command"},
            "request_id": follow.query_id(), "request_sha256": "cd"});
        let heard = hear(&mut follow, error);
        assert!(matches!(heard, Heard::News(Some(_), Next::End(Ending::Unknown))), "{heard:?}");
    }

    #[test]
    fn what_is_somebody_elses() {
        let mut other = update("SUCCEEDED", 9, true);
        other["command_id"] = json!(Uuid::nil());
        let refusal = json!({"error": {"code": "a", "message": "A"}, "request_sha256": "cd"});
        let query = json!({"error": {"code": "a", "message": "A"}, "request_id": "17"});
        let grant = json!({"grant": {"grant_id": "7f3a9c21-1"}});
        let unknown = json!({"command_id": ID, "status": "MELTED", "seq": 1});
        for message in [other, refusal, query, grant, unknown, json!([1]), json!("x")] {
            assert_eq!(hear(&mut follow(true), message.clone()), Heard::Nothing, "{message}");
        }
        assert_eq!(follow(true).hear(b"\xFF"), Heard::Nothing);
    }
}
