//! The command table and the readers of requests and replies against redis-server 7.0.
//!
//! Where there is none the tests say so and pass: the table is data that does not change.

mod facts;
mod grammar;
mod keys;
mod replies;
mod server;

/// Starts a server, or leaves the test.
macro_rules! server_or_return {
    ($name:literal) => {
        match crate::server::Server::start($name) {
            Some(server) => server,
            None => {
                eprintln!("no redis-server 7.0 is installed: not compared");
                return;
            }
        }
    };
}
pub(crate) use server_or_return;
