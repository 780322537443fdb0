//! One process, as the service sees it.

use std::{collections::VecDeque, io, os::unix::process::ExitStatusExt as _, process::Stdio};

use rustix::process::Signal;
use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    Error,
    args::{Program, SandboxArgs},
    frame,
    protocol::KEPT,
    worker::{COMMAND, Worker},
};

/// By the clock, in processor times: a machine that is busy is no reason to end anything.
const BUSY: u32 = 6;

/// Where questions are answered.
#[derive(Debug)]
pub(crate) struct Process {
    place: Place,
    /// The plans that it keeps, as it does.
    plans: VecDeque<String>,
    /// Whether it has answered before.
    pub(crate) used: bool,
}

#[derive(Debug)]
enum Place {
    Child {
        child: Box<Child>,
        to: ChildStdin,
        from: ChildStdout,
    },
    Here(Worker),
}

impl Process {
    /// A new one. It ends when it is dropped.
    pub(crate) fn start(args: &SandboxArgs) -> Result<Self, Error> {
        let place = match &args.program {
            Program::Here => Place::Here(Worker::default()),
            // Also if the file was replaced meanwhile.
            Program::Own => child(Command::new("/proc/self/exe"), args)?,
            Program::At(path) => child(Command::new(path), args)?,
        };
        Ok(Self {
            place,
            plans: VecDeque::new(),
            used: false,
        })
    }

    pub(crate) fn keeps(&self, digest: &str) -> bool {
        self.plans.iter().any(|plan| plan == digest)
    }

    /// Notes that a plan is sent along.
    pub(crate) fn sends(&mut self, digest: &str) {
        self.plans.truncate(KEPT - 1);
        self.plans.push_front(digest.to_owned());
    }

    /// Asks, and waits for the answer. After an error the process is of no use.
    pub(crate) async fn ask(
        &mut self,
        message: &[u8],
        args: &SandboxArgs,
    ) -> Result<Vec<u8>, Error> {
        self.used = true;
        match &mut self.place {
            Place::Here(worker) => Ok(worker.answer(message, || false)),
            Place::Child { child, to, from } => {
                let exchange = async {
                    frame::send(to, message).await?;
                    frame::receive(from).await
                };
                match timeout(args.time() * BUSY, exchange).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(error)) => Err(ended(child, error, args).await),
                    Err(_) => Err(Error::Time(args.time() * BUSY)),
                }
            }
        }
    }
}

fn child(mut command: Command, args: &SandboxArgs) -> Result<Place, Error> {
    let unavailable = || io::Error::other("the process has no pipes");
    let mut child = command
        .args([COMMAND, &args.memory.to_string(), &args.seconds.to_string()])
        // Nothing of this process's, and nothing to write to but the pipe.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::Unavailable)?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (to, from) = pipes.ok_or_else(unavailable).map_err(Error::Unavailable)?;
    Ok(Place::Child {
        child: Box::new(child),
        to,
        from,
    })
}

/// What the end of a process means, whose pipe has ended.
async fn ended(child: &mut Child, error: io::Error, args: &SandboxArgs) -> Error {
    if error.kind() == io::ErrorKind::InvalidData {
        return Error::Large(frame::LARGEST);
    }
    let Ok(Ok(status)) = timeout(args.time(), child.wait()).await else {
        return Error::Unavailable(error);
    };
    let by = |signal: Signal| status.signal() == Some(signal.as_raw());
    if by(Signal::XCPU) {
        Error::Time(args.time())
    } else if by(Signal::ABORT) || by(Signal::SEGV) || by(Signal::BUS) {
        // An allocation that fails and a stack that is full end in these.
        Error::Memory(args.memory)
    } else if status.code().is_some() {
        Error::Broken
    } else {
        Error::Unavailable(error)
    }
}
