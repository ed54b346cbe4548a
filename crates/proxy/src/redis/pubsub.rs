//! Subscriptions: a connection of its own for each subscriber, and messages that nobody asked for.
//!
//! All of a pool's channels live on one server, so that patterns and channels mean what they mean
//! on one server. In RESP2 a subscriber talks to that server alone: what it sends goes there as it
//! is, and what comes is passed on as it is. Whether it is still subscribed only the server knows
//! for sure, so it is asked when the client says something else. In RESP3 messages are told apart
//! from replies by themselves, and the client goes on as before.

use crate::backend::BackendId;
use crate::client::ClientId;
use crate::config::CommandClass;
use crate::exchange::{Asked, Failure};
use crate::forward::Request;
use crate::intake::Step;
use crate::link::{LinkId, Phase, Role};
use crate::redis::dispatch::NO_KEY;
use crate::redis::{Subscriber, again};
use crate::replies::Next;
use crate::worker::{Listener, Worker};
use keyway_proto::resp;

/// Asks a server in words that come back: as a plain bulk when nothing is subscribed any more, as
/// the second element of an array while something is.
const QUESTION: &[u8] = b"*2\r\n$4\r\nPING\r\n$23\r\nkeyway:still-subscribed\r\n";
pub(crate) const FREE: &[u8] = b"$23\r\nkeyway:still-subscribed\r\n";
const SUBSCRIBED: &[u8] = b"*2\r\n$4\r\npong\r\n$23\r\nkeyway:still-subscribed\r\n";

impl Worker {
    /// A command that changes subscriptions. `place` is the server of the pool's channels.
    pub(crate) fn subscribe(
        &mut self,
        id: ClientId,
        listener: &Listener,
        place: Option<BackendId>,
        request: resp::Request<'_>,
        asked: Asked,
    ) -> Step {
        let Some(client) = self.clients.get_mut(id) else { return Step::Closed };
        let Some(redis) = client.redis.as_deref_mut() else { return Step::Closed };
        let is_resp3 = redis.session.is_resp3();
        let link = match &redis.subscriber {
            Some(subscriber) => subscriber.link,
            None => match self.open_subscriber(id, place, is_resp3) {
                Ok(link) => link,
                Err(failure) => {
                    let reply = failure.reply(crate::exchange::Voice::Redis);
                    self.push(id, reply);
                    return Step::Took(request.bytes.len());
                }
            },
        };
        if !self.send_to_subscription(id, link, request) {
            return Step::Closed;
        }
        if is_resp3 && self.links.contains(link) {
            // The client's other commands take another connection: they wait until the server has
            // carried this one out.
            let exchange = self.open(id, listener, listener.root, Asked { noreply: true, ..asked });
            self.hold_behind(exchange, id);
            self.forward_on(exchange, link, &Request::Redis(again(QUESTION)));
        }
        Step::Took(request.bytes.len())
    }

    fn open_subscriber(
        &mut self,
        id: ClientId,
        place: Option<BackendId>,
        is_resp3: bool,
    ) -> Result<LinkId, Failure> {
        let backend = place.ok_or(Failure::Refused)?;
        let link = self.open_session(backend, id, is_resp3)?;
        if let Some(link) = self.links.get_mut(link) {
            link.is_subscribed = true;
            link.is_patient = true;
        }
        if let Some(redis) = self.clients.get_mut(id).and_then(|client| client.redis.as_mut()) {
            redis.subscriber = Some(Subscriber { link, is_asking: false, is_subscribed: false });
        }
        Ok(link)
    }

    /// Passes a subscriber's command on as it is; nothing is owed for it. False when the server
    /// does not take what it is sent, and the client is gone.
    pub(crate) fn send_to_subscription(
        &mut self,
        client: ClientId,
        id: LinkId,
        request: resp::Request<'_>,
    ) -> bool {
        let link = self.links.get(id);
        let unsent = link.map_or(0, |link| {
            link.conn.map_or(0, |conn| self.engine.unsent(conn)) + link.waiting.len()
        });
        let bytes = request.bytes.len();
        if unsent + bytes > self.generation.config.limits.backend_bytes_max.max(bytes) {
            self.close_client(client);
            return false;
        }
        self.scratch.clear();
        request.render(&mut self.scratch);
        let bytes = std::mem::take(&mut self.scratch);
        self.write_to_session(id, &bytes);
        self.scratch = bytes;
        true
    }

    fn write_to_session(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(id) else { return };
        match (link.phase, link.conn) {
            (Phase::Ready, Some(conn)) => self.engine.write(conn, bytes),
            (phase, _) => {
                link.waiting.extend_from_slice(bytes);
                let backend = self.backends.get(link.backend).expect("it outlives its links");
                backend.block.backend.waiting_bytes.add(bytes.len() as u64);
                if phase == Phase::Idle {
                    self.connect(id);
                }
            }
        }
    }

    /// A RESP2 subscriber says something that is not about subscriptions. `None` when it is not one
    /// any more and the command takes its usual way.
    pub(crate) fn subscriber_says(
        &mut self,
        id: ClientId,
        request: resp::Request<'_>,
    ) -> Option<Step> {
        let client = self.clients.get_mut(id)?;
        let redis = client.redis.as_deref_mut()?;
        let subscriber = redis.subscriber.as_mut()?;
        let link = subscriber.link;
        if subscriber.is_subscribed {
            // The server has the right words for what is not allowed now.
            subscriber.is_subscribed = false;
            let is_sent = self.send_to_subscription(id, link, request);
            return Some(if is_sent { Step::Took(request.bytes.len()) } else { Step::Closed });
        }
        client.state.blocked = true;
        if !subscriber.is_asking {
            subscriber.is_asking = true;
            self.write_to_session(link, QUESTION);
        }
        Some(Step::Blocked)
    }

    /// A message, or whatever else comes on a subscriber's connection.
    pub(crate) fn read_push(&mut self, id: LinkId, reply: &[u8], used: usize) -> Next {
        let Some(link) = self.links.get_mut(id) else { return Next::Gone };
        if link.role != Role::Session {
            // Nobody has subscribed to anything on a connection that all share.
            return self.out_of_step(id);
        }
        let Some(client_id) = link.client else {
            // A message for nobody: the connection was not left as it should have been.
            self.drop_session(id);
            return Next::Gone;
        };
        let is_answer = reply == FREE || reply == SUBSCRIBED;
        let client = self.clients.get_mut(client_id);
        let redis = client.and_then(|client| client.redis.as_deref_mut());
        let subscriber = redis.and_then(|redis| redis.subscriber.as_mut());
        match subscriber {
            Some(subscriber) if subscriber.is_asking && is_answer => {
                subscriber.is_asking = false;
                subscriber.is_subscribed = reply == SUBSCRIBED;
                if reply == FREE {
                    self.end_subscriptions(client_id);
                }
                self.go_on(client_id);
            }
            _ => self.push(client_id, reply),
        }
        if self.links.contains(id) { Next::Used(used) } else { Next::Gone }
    }

    /// Gives the connection of a former subscriber up.
    pub(crate) fn end_subscriptions(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let subscriber = client.redis.as_deref_mut().and_then(|redis| redis.subscriber.take());
        if let Some(subscriber) = subscriber {
            self.drop_session(subscriber.link);
        }
    }

    /// Closes the subscribers whose channels live on another server now, so that they subscribe
    /// there: messages would pass them by.
    pub(crate) fn close_deaf_subscribers(&mut self) {
        let subscribers = self.clients.iter().filter_map(|(id, client)| {
            let subscriber = client.redis.as_deref()?.subscriber.as_ref()?;
            Some((id, client.listener, subscriber.link))
        });
        let subscribers: Vec<(ClientId, u32, LinkId)> = subscribers.collect();
        for (id, listener, link) in subscribers {
            let Some(listener) = self.listener(listener) else { continue };
            let routes = &listener.routes;
            let place = self.place_of(routes, listener.root, CommandClass::Other, NO_KEY);
            let home = place.and_then(|place| self.backend_at(routes, place));
            let now = self.links.get(link).map(|link| link.backend);
            // The same server may be another backend by now, with other settings.
            let address = |id: Option<BackendId>| {
                id.and_then(|id| self.backends.get(id)).map(|backend| &backend.identity.address)
            };
            if address(now) != address(home) {
                self.close_client(id);
            }
        }
    }

    /// Begins the requests again that had to wait.
    fn go_on(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.state.blocked && !client.state.queued {
            client.state.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Sends something to a client that it did not ask for, between two replies.
    pub(crate) fn push(&mut self, id: ClientId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let head = client.head.and_then(|head| self.exchanges.get(head));
        if head.is_some_and(|exchange| exchange.sent && !exchange.done) {
            let Some(redis) = client.redis.as_deref_mut() else { return };
            redis.pushes.extend_from_slice(bytes);
            client.held_bytes += bytes.len();
            self.held_bytes += bytes.len();
        } else {
            self.local.bytes_written.add(bytes.len() as u64);
            self.engine.write(client.conn, bytes);
        }
        self.limit_output(id);
    }

    /// Sends what has come while a reply was half sent.
    pub(crate) fn send_pushes(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(redis) = client.redis.as_deref_mut() else { return };
        let pushes = std::mem::take(&mut redis.pushes);
        client.held_bytes -= pushes.len();
        self.held_bytes -= pushes.len();
        self.engine.write(client.conn, &pushes);
    }
}

#[cfg(test)]
mod tests {
    use super::{FREE, QUESTION, SUBSCRIBED};

    #[test]
    fn the_question_and_its_answers_are_well_formed() {
        use keyway_proto::resp::Version;
        use keyway_proto::resp::reply::{Fed, Follow};
        for bytes in [QUESTION, FREE, SUBSCRIBED] {
            assert_eq!(Follow::new(Version::Two).feed(bytes), Fed::Complete(bytes.len()));
        }
    }
}
