//! The life of the process as a state machine: starting, ready, draining, gone.
//!
//! Signals, the admin API and the `shutdown` command all become an [`Input`]; what to do about it
//! is one [`Step`]. No I/O here, so every order of events can be tested; `control` carries the
//! steps out.

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Listeners are not open yet.
    Starting,
    /// Clients are served.
    Ready,
    /// No new clients; owed replies are still delivered, until the deadline.
    Draining,
    /// About to exit.
    Stopped,
}

impl Phase {
    /// The word used in the admin API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Stopped => "stopped",
        }
    }
}

/// Something that happened to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Workers run and listeners accept.
    Started,
    /// Someone wants the process to end: a signal, the admin API.
    Stop,
    /// Someone wants it to end without waiting for clients: memcached's signals and `shutdown`.
    StopNow,
    /// Someone wants the configuration to be read again.
    Reload,
    /// All workers have ended by themselves.
    Drained,
    /// The drain took as long as it may.
    DeadlinePassed,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Read the configuration again.
    Reload,
    /// Close the listeners, let clients finish, and start the deadline.
    Drain,
    /// End the process with status 0.
    Exit,
}

impl Phase {
    /// Moves on and says what to do.
    pub fn on(&mut self, input: Input) -> Step {
        let (next, step) = match (*self, input) {
            (Phase::Stopped, _) => (Phase::Stopped, Step::Nothing),
            (_, Input::StopNow | Input::Drained | Input::DeadlinePassed) => {
                (Phase::Stopped, Step::Exit)
            }
            (Phase::Starting, Input::Started) => (Phase::Ready, Step::Nothing),
            (Phase::Starting, Input::Stop) => (Phase::Stopped, Step::Exit),
            (Phase::Ready, Input::Stop) => (Phase::Draining, Step::Drain),
            // The second request to stop means that waiting is not wanted.
            (Phase::Draining, Input::Stop) => (Phase::Stopped, Step::Exit),
            (Phase::Ready, Input::Reload) => (Phase::Ready, Step::Reload),
            (phase, Input::Started | Input::Reload) => (phase, Step::Nothing),
        };
        *self = next;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(inputs: &[Input]) -> (Phase, Vec<Step>) {
        let mut phase = Phase::Starting;
        let steps = inputs.iter().map(|input| phase.on(*input)).collect();
        (phase, steps)
    }

    #[test]
    fn a_stop_drains_and_the_end_of_the_drain_exits() {
        let (phase, steps) = run(&[Input::Started, Input::Stop, Input::Drained]);
        assert_eq!(steps, [Step::Nothing, Step::Drain, Step::Exit]);
        assert_eq!(phase, Phase::Stopped);
    }

    #[test]
    fn a_second_stop_exits_at_once() {
        let (_, steps) = run(&[Input::Started, Input::Stop, Input::Stop]);
        assert_eq!(steps, [Step::Nothing, Step::Drain, Step::Exit]);
    }

    #[test]
    fn the_deadline_ends_a_drain_that_does_not_end() {
        let (_, steps) = run(&[Input::Started, Input::Stop, Input::DeadlinePassed]);
        assert_eq!(steps.last(), Some(&Step::Exit));
    }

    #[test]
    fn a_reload_happens_only_while_ready() {
        assert_eq!(run(&[Input::Reload]).1, [Step::Nothing]);
        assert_eq!(run(&[Input::Started, Input::Reload]).1[1], Step::Reload);
        let (phase, steps) = run(&[Input::Started, Input::Stop, Input::Reload]);
        assert_eq!(steps[2], Step::Nothing);
        assert_eq!(phase, Phase::Draining, "a reload does not end a drain");
    }

    #[test]
    fn nothing_happens_twice_after_the_end() {
        let (_, steps) = run(&[Input::Started, Input::StopNow, Input::Stop, Input::Drained]);
        assert_eq!(steps[1..], [Step::Exit, Step::Nothing, Step::Nothing]);
    }
}
