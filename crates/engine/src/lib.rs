//! Sockets, time and buffers: everything a worker wants from the kernel, behind one type.
//!
//! An [`Engine`] belongs to one thread. Each turn the worker calls [`Engine::poll`] once, takes
//! events with [`Engine::next`] until there are none, and calls [`Engine::flush`] once; whatever it
//! wrote in between leaves in as few system calls as possible. Three backends answer the same
//! calls: level-triggered epoll, io_uring, and a simulated network with its own clock (`sim`).
//!
//! Invariants: ids of closed connections are harmless (every call with one is a no-op); no event
//! follows [`Engine::close`]; `Closed` is the last event of its connection; bytes leave in the
//! order they were written, whichever of the three write calls took them; nothing here panics
//! because of what a peer does.

mod acceptor;
mod chunk;
mod clock;
mod engine;
mod epoll;
mod event;
mod foreign;
mod listen;
mod mailbox;
mod output;
pub mod sim;
mod slab;
mod socket;
mod uring;

pub use acceptor::{Accepted, Acceptor, AcceptorHandle};
pub use chunk::Chunk;
pub use clock::{MICROSECOND, MILLISECOND, Nanos, SECOND, monotonic};
pub use engine::{Choice, Counters, Engine, Options, Refusal};
pub use event::{CloseReason, ConnId, Event, Tag};
pub use listen::{ListenAddress, ListenOptions, ListenSocket, listen};
pub use mailbox::{Receiver, Sender, Waker, mailbox};
pub use slab::{Id, Slab};
pub use socket::{Address, ConnectOptions, Keepalive, Peer, Socket};
