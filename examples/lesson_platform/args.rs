//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
The lesson platform: one page, four boundaries, and what happens when they fail.

Usage: lesson_platform [OPTIONS] [LESSONS]

Arguments:
  [LESSONS]      Folder of Markdown lessons, pictures in its `images` folder
                 [default: the ten lessons that come with the example]

Options:
      --serve    Stay up and serve pages, instead of running the drill
      --port N   With --serve: the port to listen on [default: 8080; 0 takes a free one]
      --no-spans Keep no spans of the last pages
      --policies FILE
                 With --serve: how the parts are asked, read again when it is edited
                 [default: a copy of the one that comes with the example]
  -h, --help     Print this help

Without --serve a drill of about 20 seconds runs: 2,000 page requests while processes are
killed and stopped, enrolments repeated, and the policy of a part edited. Its exit status is 0 if the platform did what
it promises, 1 if not, 2 if it could not start.";

/// The lessons that come with the example.
const OWN_LESSONS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/lesson_platform/lessons"
);
const DEFAULT_PORT: u16 = 8080;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Drill {
        lessons: PathBuf,
        spans: bool,
    },
    Serve {
        lessons: PathBuf,
        port: u16,
        spans: bool,
        /// How the parts are asked, if that is to be another file than the example's.
        policies: Option<PathBuf>,
    },
    /// A child process of the platform: it starts its own executable again.
    Role(Role),
}

/// What a child process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Thumbnails { lessons: PathBuf },
    Views { socket: PathBuf, topic: PathBuf },
    Metadata { lessons: PathBuf },
}

impl Role {
    /// The arguments that make the executable this child: what [`parse`] reads back.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--role".into(), self.name().into()];
        match self {
            Role::Thumbnails { lessons } | Role::Metadata { lessons } => args.push(lessons.into()),
            Role::Views { socket, topic } => args.extend([socket.into(), topic.into()]),
        }
        args
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Role::Thumbnails { .. } => "thumbnails",
            Role::Views { .. } => "views",
            Role::Metadata { .. } => "metadata",
        }
    }
}

/// Reads the arguments after the program's name. The error is a sentence for people.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut args = args.into_iter();
    let mut lessons: Option<PathBuf> = None;
    let mut serve = false;
    let mut port = None;
    let mut spans = true;
    let mut policies: Option<PathBuf> = None;
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("-h" | "--help") => return Ok(Command::Help),
            Some("--serve") => serve = true,
            Some("--port") => port = Some(parse_port(args.next())?),
            Some("--no-spans") => spans = false,
            Some("--policies") => {
                let file = args.next().ok_or("`--policies` needs a file after it")?;
                policies = Some(file.into());
            }
            Some("--role") => return parse_role(args).map(Command::Role),
            Some(option) if option.starts_with('-') => {
                return Err(format!("unknown option `{option}`"));
            }
            _ if lessons.is_some() => {
                return Err(format!(
                    "one lessons folder at most; `{}` is a second one",
                    arg.display()
                ));
            }
            _ => lessons = Some(arg.into()),
        }
    }
    let lessons = lessons.unwrap_or_else(|| OWN_LESSONS.into());
    if policies.is_some() && !serve {
        return Err("`--policies` needs `--serve`: the drill edits a file of its own".to_owned());
    }
    match (serve, port) {
        (true, port) => Ok(Command::Serve {
            lessons,
            port: port.unwrap_or(DEFAULT_PORT),
            spans,
            policies,
        }),
        (false, None) => Ok(Command::Drill { lessons, spans }),
        (false, Some(_)) => Err("`--port` needs `--serve`: the drill takes free ports".to_owned()),
    }
}

fn parse_port(text: Option<OsString>) -> Result<u16, String> {
    let text = text.ok_or("`--port` needs a number after it")?;
    text.to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            format!(
                "`--port {}`: a port is a number from 0 to 65535",
                text.display()
            )
        })
}

fn parse_role(mut args: impl Iterator<Item = OsString>) -> Result<Role, String> {
    let mut next = || args.next().ok_or("`--role` is for the platform's own use");
    let role = next()?;
    Ok(match role.to_str() {
        Some("thumbnails") => Role::Thumbnails {
            lessons: next()?.into(),
        },
        Some("views") => Role::Views {
            socket: next()?.into(),
            topic: next()?.into(),
        },
        Some("metadata") => Role::Metadata {
            lessons: next()?.into(),
        },
        _ => return Err(format!("unknown role `{}`", role.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_drill_is_the_default() {
        let drill = |lessons: &str, spans| {
            let lessons = lessons.into();
            Ok(Command::Drill { lessons, spans })
        };
        assert_eq!(read(""), drill(OWN_LESSONS, true));
        assert_eq!(read("mine"), drill("mine", true));
        assert_eq!(read("--no-spans mine"), drill("mine", false));
    }

    #[test]
    fn serving_takes_a_port() {
        let lessons = PathBuf::from("mine");
        let serve = |port, spans, policies: Option<&str>| {
            Ok(Command::Serve {
                lessons: lessons.clone(),
                port,
                spans,
                policies: policies.map(PathBuf::from),
            })
        };
        assert_eq!(read("--serve mine"), serve(DEFAULT_PORT, true, None));
        assert_eq!(read("mine --port 0 --serve"), serve(0, true, None));
        assert_eq!(
            read("mine --no-spans --port 0 --serve"),
            serve(0, false, None)
        );
        assert_eq!(
            read("--policies p.toml mine --serve"),
            serve(DEFAULT_PORT, true, Some("p.toml"))
        );
    }

    #[test]
    fn bad_input_is_named() {
        for (line, message) in [
            ("--sreve", "unknown option `--sreve`"),
            ("--serve --port", "`--port` needs a number after it"),
            (
                "--serve --port 99999",
                "`--port 99999`: a port is a number from 0 to 65535",
            ),
            (
                "--port 80",
                "`--port` needs `--serve`: the drill takes free ports",
            ),
            ("--serve --policies", "`--policies` needs a file after it"),
            (
                "--policies p.toml",
                "`--policies` needs `--serve`: the drill edits a file of its own",
            ),
            ("a b", "one lessons folder at most; `b` is a second one"),
            ("--role cook", "unknown role `cook`"),
        ] {
            assert_eq!(read(line), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_child_reads_what_its_parent_wrote() {
        for role in [
            Role::Thumbnails {
                lessons: "a b".into(),
            },
            Role::Views {
                socket: "s".into(),
                topic: "t".into(),
            },
            Role::Metadata {
                lessons: "l".into(),
            },
        ] {
            assert_eq!(parse(role.to_args()), Ok(Command::Role(role)));
        }
    }
}
