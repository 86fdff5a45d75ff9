//! The other process of a run: this program once more, started with an argument of its own.
//!
//! A server says in a line on its standard output where it listens, and ends when its standard input closes, however
//! the process that started it ended. Over the pipe these two are the connection itself.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use common::folder::Folder;
use common::run::{self, Result};

use crate::systems;
use crate::workloads::{Link, Service};

/// The argument that makes a server of this program.
const SERVE: &str = "--serve";

/// What a server process is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    /// The system's name.
    pub(crate) system: String,
    pub(crate) link: Link,
    pub(crate) service: Service,
    /// For sockets: the path of one may not be long.
    pub(crate) sockets: PathBuf,
    /// For what is stored.
    pub(crate) disk: PathBuf,
    /// What both sides know before: where a broker listens, or the folder of certificates; else nothing.
    pub(crate) shared: String,
}

impl Role {
    /// Of a program's arguments; `None` if it is no server.
    pub(crate) fn of(args: impl Iterator<Item = String>) -> Option<Self> {
        let args: Vec<String> = args.collect();
        let [serve, system, link, service, sockets, disk, shared] = &args[..] else {
            return None;
        };
        (serve == SERVE).then_some(())?;
        Some(Role {
            system: system.clone(),
            link: Link::ALL.into_iter().find(|it| it.name() == link)?,
            service: Service::ALL.into_iter().find(|it| it.name() == service)?,
            sockets: sockets.into(),
            disk: disk.into(),
            shared: shared.clone(),
        })
    }

    fn args(&self) -> [String; 7] {
        [
            SERVE.to_owned(),
            self.system.clone(),
            self.link.name().to_owned(),
            self.service.name().to_owned(),
            self.sockets.display().to_string(),
            self.disk.display().to_string(),
            self.shared.clone(),
        ]
    }

    /// The path of the Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.sockets.join("socket")
    }
}

/// The `main` of a server.
pub(crate) fn run(role: Role) -> ExitCode {
    if role.link != Link::Pipe {
        thread::spawn(|| {
            // An error means the same: nobody is there any more.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            process::exit(0);
        });
    }
    let all = systems::all();
    let found = all.iter().find(|system| system.name() == role.system);
    let served = match found {
        Some(system) => system.serve(&role),
        None => Err("nothing is called that".into()),
    };
    run::ended("server", served)
}

/// Says where a server listens. Called once, by the server, when it can be reached.
pub(crate) fn announce(address: impl std::fmt::Display) -> Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{address}")?;
    output.flush()?;
    Ok(())
}

/// A server process, ended with its owner.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Open as long as it is to live; over the pipe it is the connection's.
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    address: String,
    role: Role,
    _folders: [Folder; 2],
}

impl Server {
    /// Starts one and waits until it listens.
    pub(crate) fn start(system: &str, link: Link, service: Service) -> Result<Self> {
        Server::sharing("", system, link, service)
    }

    /// The same, with something that both sides know before.
    pub(crate) fn sharing(
        shared: &str,
        system: &str,
        link: Link,
        service: Service,
    ) -> Result<Self> {
        let sockets = Folder::new(&env::temp_dir())?;
        let disk = Folder::new(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let role = Role {
            system: system.to_owned(),
            link,
            service,
            sockets: sockets.path().to_owned(),
            disk: disk.path().to_owned(),
            shared: shared.to_owned(),
        };
        let mut child = Command::new(env::current_exe()?)
            .args(role.args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Server {
            input: child.stdin.take(),
            output: child.stdout.take(),
            child,
            address: String::new(),
            role,
            _folders: [sockets, disk],
        };
        if link != Link::Pipe {
            let output = server.output.take().ok_or("its output is no pipe")?;
            let mut output = BufReader::new(output);
            output.read_line(&mut server.address)?;
            if server.address.trim().is_empty() {
                return Err("the server has ended before it listened".into());
            }
        }
        Ok(server)
    }

    /// Where it listens, as it said itself.
    pub(crate) fn address(&self) -> &str {
        self.address.trim()
    }

    pub(crate) fn role(&self) -> &Role {
        &self.role
    }

    /// What it reads and what it writes, where that is the connection.
    pub(crate) fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout)> {
        let pipes = self.input.take().zip(self.output.take());
        pipes.ok_or_else(|| "the pipes are in use".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing it holds is needed any more. An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
