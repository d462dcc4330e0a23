//! What a running agent tells people on the same machine: HTTP over a Unix socket that only its owner may use.
//!
//! `mote` commands ask it, and so can `curl --unix-socket`. What there is to tell is given as a table of paths; nothing here knows more of
//! it. Requests have no bodies worth the name, and nothing here changes the agent.

use crate::sources::http::Handler;
use crate::sources::http::Head;
use crate::sources::http::Request;
use crate::sources::http::Response;

/// A path's answer; it gets what follows the `?`.
pub type Answer = Box<dyn Fn(&str) -> Response + Send + Sync>;

/// What stands behind the socket.
pub struct ControlHandler {
    answers: Vec<(&'static str, Answer)>,
}

impl ControlHandler {
    /// A handler of these paths.
    pub fn new(answers: Vec<(&'static str, Answer)>) -> ControlHandler {
        ControlHandler { answers }
    }

    fn find(&self, path: &str) -> Option<&Answer> {
        self.answers.iter().find(|(known, _)| *known == path).map(|(_, answer)| answer)
    }

    fn not_found(&self) -> Response {
        let known: Vec<&str> = self.answers.iter().map(|(path, _)| *path).collect();
        Response::text(404, &format!("there is only {}", known.join(", ")))
    }
}

impl Handler for ControlHandler {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        if self.find(&head.path).is_some() { Ok(0) } else { Err(self.not_found()) }
    }

    fn overloaded(&self, _: &Head) -> Response {
        Response::text(503, "no memory for the request")
    }

    fn answer(&self, request: Request) -> Response {
        match self.find(&request.path) {
            Some(answer) => answer(request.query.as_deref().unwrap_or_default()),
            None => self.not_found(),
        }
    }
}
