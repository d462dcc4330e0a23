//! The command line, and the only file that names lexopt.

use crate::model::api_key::masked;
use lexopt::Arg;
use lexopt::Parser;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the agent.
    Run(RunArgs),
    /// Print the configuration in force.
    Check(RunArgs),
    /// Ask a running agent for its contexts of metrics; as JSON or not.
    DogstatsdStats(RunArgs, bool),
    /// Ask a running agent how it is; as JSON or not.
    Status(RunArgs, bool),
    /// Ask it whether something is wrong.
    Health(RunArgs),
    /// Write an archive for whoever is to help, to this file; `-` for standard output.
    Flare(RunArgs, Option<PathBuf>),
    /// List what waits in the spool.
    Spool(RunArgs, SpoolArgs),
    /// Print the version.
    Version,
    /// Print how to use a command.
    Help(Topic),
}

/// What `--help` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The program.
    Program,
    /// `mote run`
    Run,
    /// `mote check`
    Check,
    /// `mote dogstatsd-stats`
    DogstatsdStats,
    /// `mote status`
    Status,
    /// `mote health`
    Health,
    /// `mote flare`
    Flare,
    /// `mote spool`
    Spool,
    /// `mote version`
    Version,
}

/// Flags of `run` and `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// `--config FILE`
    pub config: Option<PathBuf>,
    /// `--events -|FILE`
    pub events: Option<EventsFrom>,
    /// `--out -|DIR`
    pub out: Option<OutTo>,
    /// `--log-level L`
    pub log_level: Option<String>,
    /// `--key`, of `check`
    pub key: bool,
    /// `--daemon`, of `run`
    pub daemon: bool,
    /// `--daemon-child`, which `--daemon` adds where it starts the program once more
    pub daemon_child: bool,
    /// `--pid-file FILE`, of `run`
    pub pid_file: Option<PathBuf>,
}

impl RunArgs {
    /// Where the number of the process is written, if it is.
    pub fn pid_file(&self) -> Option<&Path> {
        self.pid_file.as_deref().or(self.daemon.then_some(Path::new(PID_FILE)))
    }

    /// Whether any path among them depends on the folder that the process is in.
    pub fn depends_on_folder(&self) -> bool {
        let events = if let Some(EventsFrom::File(path)) = &self.events { Some(path) } else { None };
        let out = if let Some(OutTo::Folder(path)) = &self.out { Some(path) } else { None };
        [events, out, self.config.as_ref(), self.pid_file.as_ref()].into_iter().flatten().any(|path| path.is_relative())
    }
}

/// What is `spool`'s own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolArgs {
    /// `DIR`, in place of the configured folder.
    pub folder: Option<PathBuf>,
    /// `--json`
    pub json: bool,
}

/// Where invocation events are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsFrom {
    /// Standard input.
    Stdin,
    /// A recording.
    File(PathBuf),
}

/// Where delivered records are written instead of being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutTo {
    /// Standard output.
    Stdout,
    /// One file a signal in this folder.
    Folder(PathBuf),
}

/// A command line that makes no sense, with the nearest word that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgsError {
    what: String,
    nearest: Option<&'static str>,
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest}?"),
            None => write!(f, "; see mote --help"),
        }
    }
}

impl std::error::Error for ArgsError {}

const COMMANDS: [&str; 8] = ["run", "check", "status", "health", "flare", "dogstatsd-stats", "spool", "version"];
const ASK_FLAGS: [&str; 3] = ["--config", "--json", "--help"];
const HEALTH_FLAGS: [&str; 2] = ["--config", "--help"];
const FLARE_FLAGS: [&str; 3] = ["--config", "--out", "--help"];
const FLAGS: [&str; 7] = ["--config", "--events", "--out", "--log-level", "--daemon", "--pid-file", "--help"];
const CHECK_FLAGS: [&str; 6] = ["--config", "--events", "--key", "--out", "--log-level", "--help"];

/// Where a daemon's number is looked for.
const PID_FILE: &str = "/run/mote/mote.pid";

const LEVELS: [&str; 8] = ["trace", "debug", "info", "warn", "warning", "error", "critical", "off"];

/// Reads the arguments that follow the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let mut parser = Parser::from_args(args);
    let mut topic = None;
    let mut run = RunArgs::default();
    let (mut folder, mut json, mut archive) = (None, false, None);
    while let Some(arg) = parser.next().map_err(unfit)? {
        match arg {
            Arg::Value(word) if topic.is_none() => topic = Some(command(&word)?),
            Arg::Value(word) if topic == Some(Topic::Spool) && folder.is_none() => folder = Some(word.into()),
            Arg::Value(word) => return Err(unknown("argument", &word.to_string_lossy(), &[])),
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help(topic.unwrap_or(Topic::Program))),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Long("json") | Arg::Short('j') if flags(topic).contains(&"--json") => json = true,
            Arg::Long("config") if flags(topic).contains(&"--config") => {
                run.config = Some(parser.value().map_err(unfit)?.into())
            }
            Arg::Long("events") if takes_flags(topic) => run.events = Some(events(parser.value().map_err(unfit)?)),
            Arg::Long("out") if topic == Some(Topic::Flare) => archive = Some(parser.value().map_err(unfit)?.into()),
            Arg::Long("out") if takes_flags(topic) => run.out = Some(out(parser.value().map_err(unfit)?)),
            Arg::Long("log-level") if takes_flags(topic) => run.log_level = Some(level(&parser.value().map_err(unfit)?)?),
            Arg::Long("daemon") if runs(topic) => run.daemon = true,
            Arg::Long("daemon-child") if runs(topic) => run.daemon_child = true,
            // The second is the Datadog Agent's name.
            Arg::Long("pid-file" | "pidfile") if runs(topic) => run.pid_file = Some(parser.value().map_err(unfit)?.into()),
            Arg::Long("key") if topic == Some(Topic::Check) => run.key = true,
            Arg::Long(name) => return Err(unknown("flag", &format!("--{name}"), flags(topic))),
            Arg::Short(name) => return Err(unknown("flag", &format!("-{name}"), flags(topic))),
        }
    }
    if run.daemon && (run.events == Some(EventsFrom::Stdin) || run.out == Some(OutTo::Stdout)) {
        return Err(ArgsError { what: "a daemon has no standard input and output".to_owned(), nearest: None });
    }
    Ok(match topic.unwrap_or(Topic::Run) {
        Topic::Check => Command::Check(run),
        Topic::DogstatsdStats => Command::DogstatsdStats(run, json),
        Topic::Status => Command::Status(run, json),
        Topic::Health => Command::Health(run),
        Topic::Flare => Command::Flare(run, archive),
        Topic::Spool => Command::Spool(run, SpoolArgs { folder, json }),
        Topic::Version => Command::Version,
        Topic::Run | Topic::Program => Command::Run(run),
    })
}

fn runs(topic: Option<Topic>) -> bool {
    matches!(topic, None | Some(Topic::Run))
}

fn takes_flags(topic: Option<Topic>) -> bool {
    matches!(topic, None | Some(Topic::Program | Topic::Run | Topic::Check))
}

fn flags(topic: Option<Topic>) -> &'static [&'static str] {
    match topic {
        Some(Topic::Version) => &FLAGS[FLAGS.len() - 1..],
        Some(Topic::DogstatsdStats | Topic::Spool | Topic::Status) => &ASK_FLAGS,
        Some(Topic::Health) => &HEALTH_FLAGS,
        Some(Topic::Flare) => &FLARE_FLAGS,
        Some(Topic::Check) => &CHECK_FLAGS,
        _ => &FLAGS,
    }
}

fn command(word: &OsString) -> Result<Topic, ArgsError> {
    match word.to_str() {
        Some("run") => Ok(Topic::Run),
        Some("check") => Ok(Topic::Check),
        Some("dogstatsd-stats") => Ok(Topic::DogstatsdStats),
        Some("status") => Ok(Topic::Status),
        Some("health") => Ok(Topic::Health),
        Some("flare") => Ok(Topic::Flare),
        Some("spool") => Ok(Topic::Spool),
        Some("version") => Ok(Topic::Version),
        _ => Err(unknown("command", &word.to_string_lossy(), &COMMANDS)),
    }
}

fn events(value: OsString) -> EventsFrom {
    if value == "-" { EventsFrom::Stdin } else { EventsFrom::File(value.into()) }
}

fn out(value: OsString) -> OutTo {
    if value == "-" { OutTo::Stdout } else { OutTo::Folder(value.into()) }
}

fn level(value: &OsString) -> Result<String, ArgsError> {
    let word = value.to_string_lossy().to_ascii_lowercase();
    if LEVELS.contains(&word.as_str()) {
        return Ok(word);
    }
    Err(unknown("log level", &value.to_string_lossy(), &LEVELS))
}

fn unfit(err: lexopt::Error) -> ArgsError {
    ArgsError { what: err.to_string(), nearest: None }
}

fn unknown(kind: &str, word: &str, known: &[&'static str]) -> ArgsError {
    let quoted: String = word.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
    let quoted = masked(&quoted);
    ArgsError { what: format!("unknown {kind} `{quoted}`"), nearest: nearest(word, known) }
}

/// The known word with the smallest edit distance.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    known.iter().copied().min_by_key(|candidate| distance(word, candidate))
}

/// Levenshtein's edit distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, a) in left.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.chars().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The help text of a topic.
pub fn help(topic: Topic) -> &'static str {
    match topic {
        Topic::Program => PROGRAM_HELP,
        Topic::Run => RUN_HELP,
        Topic::Check => CHECK_HELP,
        Topic::DogstatsdStats => DOGSTATSD_STATS_HELP,
        Topic::Status => STATUS_HELP,
        Topic::Health => HEALTH_HELP,
        Topic::Flare => FLARE_HELP,
        Topic::Spool => SPOOL_HELP,
        Topic::Version => VERSION_HELP,
    }
}

const PROGRAM_HELP: &str = "\
mote: a small Datadog-compatible observability agent

usage: mote [COMMAND] [FLAGS]

commands:
  run               run the agent (the default)
  check             print each setting in force, where it came from, and every warning
  status            print how a running agent is: key, endpoints, ledger, spool, memory, last errors
  health            say whether something is wrong with a running agent, for scripts
  flare             write an archive without secrets for whoever is to help
  dogstatsd-stats   print which metrics a running agent has seen, most frequent first
  spool             list what waits on disk to be sent
  version           print the version

mote COMMAND --help tells more.
";

const RUN_HELP: &str = "\
usage: mote [run] [FLAGS]

Receives traces and logs and sends them to Datadog, until told to stop.

flags:
  --config FILE      settings; otherwise /etc/mote/datadog.yaml, /etc/datadog-agent/datadog.yaml,
                     in Lambda datadog.yaml beside the function
  --events -|FILE    read invocation events from standard input or a recording, then drain and end
  --out -|DIR        write records as JSON lines to standard output or DIR instead of sending them; needs no key
  --log-level L      trace, debug, info, warn, error or off
  --daemon           leave the terminal when ready; the exit code is the agent's own if it ends before
  --pid-file FILE    write the process's number when ready; with --daemon otherwise /run/mote/mote.pid

Flags rank above DD_* variables, these above the file. SIGTERM drains and ends, a second one ends at once,
SIGHUP reads settings again, SIGUSR1 prints the ledger.

exit codes: 0 everything sent, 64 bad command line, 69 port, pid file or registration not to be had, 70 fault,
75 stopped with records lost, 78 configuration or key missing or refused
";

const CHECK_HELP: &str = "\
usage: mote check [--key] [FLAGS]

Prints each setting in force, where it came from, every warning, and the way to each endpoint. Flags are those of run.
Nobody is asked for anything; with --key everyone is who keeps a key or another setting, and then Datadog whether it
takes the key.

Exit code 0; 78 when the agent would not start with these settings, or the key is refused; 69 when that cannot be known,
as nobody answers.
";

const DOGSTATSD_STATS_HELP: &str = "\
usage: mote dogstatsd-stats [--config FILE] [--json]

Asks the agent that runs with these settings, by its control socket, which metrics with which tags it has seen.
Exit code 0, or 69 when no agent answers.
";

const STATUS_HELP: &str = "\
usage: mote status [--config FILE] [-j|--json]

Asks the agent that runs with these settings, by its control socket, how it is: key, endpoints, ledger, spool, memory,
listeners, last warnings and errors. Times are in seconds, sizes in bytes. Exit code 0, or 69 when no agent answers.
";

const HEALTH_HELP: &str = "\
usage: mote health [--config FILE]

Asks the agent that runs with these settings whether something is wrong, and prints a line for each thing that is.
Exit code 0 healthy, 1 something is wrong, 69 no agent answers.
";

const FLARE_HELP: &str = "\
usage: mote flare [--out -|FILE] [--config FILE]

Writes what status, health, check and spool say, the settings file, DD_* variables and what the system says of itself into
an archive (.tar.gz), by default in the present folder, without secrets. Nothing is sent, and no file is replaced.
Exit code 0, or 78 when it cannot be written.
";

const SPOOL_HELP: &str = "\
usage: mote spool [DIR] [--json] [--config FILE]

Lists the segments of the spool in DIR, or in the folder of the settings, with their records: offset, kind, number of
records, size, attempts, age, and what is damaged. Reads only; the agent may run. --json prints one object a segment.
";

const VERSION_HELP: &str = "\
usage: mote version

Prints the version.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command, &str>) {
        let parsed = parse(line.split_whitespace().map(OsString::from));
        assert_eq!(parsed.map_err(|err| err.to_string()), expected.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn run_is_the_default_command() {
        check("", Ok(Command::Run(RunArgs::default())));
        let args = RunArgs { events: Some(EventsFrom::Stdin), out: Some(OutTo::Stdout), ..RunArgs::default() };
        check("--events - --out=-", Ok(Command::Run(args.clone())));
        check("run --events - --out -", Ok(Command::Run(args)));
    }

    #[test]
    fn flags_take_their_values() {
        let args = RunArgs {
            config: Some("a.yaml".into()),
            events: Some(EventsFrom::File("run.ndjson".into())),
            out: Some(OutTo::Folder("dir".into())),
            log_level: Some("debug".to_owned()),
            key: true,
            ..RunArgs::default()
        };
        check("check --key --config a.yaml --events run.ndjson --out dir --log-level DEBUG", Ok(Command::Check(args)));
    }

    #[test]
    fn a_daemon_has_a_pid_file_and_no_streams() {
        let args = RunArgs { daemon: true, ..RunArgs::default() };
        assert_eq!(args.pid_file(), Some(Path::new("/run/mote/mote.pid")));
        check("--daemon", Ok(Command::Run(args)));
        let args = RunArgs { pid_file: Some("a.pid".into()), ..RunArgs::default() };
        assert_eq!((args.pid_file(), RunArgs::default().pid_file()), (Some(Path::new("a.pid")), None));
        check("run --pid-file a.pid", Ok(Command::Run(args.clone())));
        check("run --pidfile=a.pid", Ok(Command::Run(args)));
        check("run --daemon --out -", Err("a daemon has no standard input and output; see mote --help"));
        check("run --events - --daemon", Err("a daemon has no standard input and output; see mote --help"));
        let args = RunArgs { daemon: true, daemon_child: true, ..RunArgs::default() };
        check("--daemon-child run --daemon", Ok(Command::Run(args)));
        check("check --daemon", Err("unknown flag `--daemon`; did you mean --events?"));
    }

    #[test]
    fn a_relative_path_is_told() {
        let none = RunArgs { out: Some(OutTo::Folder("/dir".into())), daemon: true, ..RunArgs::default() };
        assert!(!none.depends_on_folder());
        assert!(RunArgs { config: Some("a.yaml".into()), ..none.clone() }.depends_on_folder());
        assert!(RunArgs { events: Some(EventsFrom::File("run.ndjson".into())), ..none.clone() }.depends_on_folder());
        assert!(RunArgs { out: Some(OutTo::Folder("dir".into())), ..none.clone() }.depends_on_folder());
        assert!(RunArgs { pid_file: Some("mote.pid".into()), ..none }.depends_on_folder());
    }

    #[test]
    fn help_is_about_the_command_before_it() {
        check("--help", Ok(Command::Help(Topic::Program)));
        check("run --help", Ok(Command::Help(Topic::Run)));
        check("check -h", Ok(Command::Help(Topic::Check)));
        check("version --help", Ok(Command::Help(Topic::Version)));
        check("version", Ok(Command::Version));
        check("spool -h", Ok(Command::Help(Topic::Spool)));
    }

    #[test]
    fn spool_takes_a_folder_and_a_form() {
        let args = SpoolArgs { folder: Some("dir".into()), json: true };
        check("spool dir --json", Ok(Command::Spool(RunArgs::default(), args)));
        check("spool dir other", Err("unknown argument `other`; see mote --help"));
        check("spool --jsn", Err("unknown flag `--jsn`; did you mean --json?"));
        check("run --json", Err("unknown flag `--json`; did you mean --out?"));
    }

    #[test]
    fn asking_a_running_agent_takes_where_it_is_and_how_to_print() {
        let args = RunArgs { config: Some("a.yaml".into()), ..RunArgs::default() };
        check("dogstatsd-stats --json --config a.yaml", Ok(Command::DogstatsdStats(args.clone(), true)));
        check("status -j", Ok(Command::Status(RunArgs::default(), true)));
        check("status", Ok(Command::Status(RunArgs::default(), false)));
        check("health --config a.yaml", Ok(Command::Health(args)));
        check("flare", Ok(Command::Flare(RunArgs::default(), None)));
        check("flare --out a.tar.gz", Ok(Command::Flare(RunArgs::default(), Some("a.tar.gz".into()))));
        check("health --json", Err("unknown flag `--json`; did you mean --help?"));
        check("dogstatsd-stats --out -", Err("unknown flag `--out`; did you mean --json?"));
        check("run --json", Err("unknown flag `--json`; did you mean --out?"));
    }

    #[test]
    fn a_key_among_the_arguments_is_not_printed() {
        check("0123456789abcdef0123456789abcdef", Err("unknown command `***`; did you mean check?"));
    }

    #[test]
    fn unknown_words_get_the_nearest_valid_one() {
        check("chekc", Err("unknown command `chekc`; did you mean check?"));
        check("--event -", Err("unknown flag `--event`; did you mean --events?"));
        check("--log-level debugg", Err("unknown log level `debugg`; did you mean debug?"));
        check("run extra", Err("unknown argument `extra`; see mote --help"));
        check("version --out -", Err("unknown flag `--out`; did you mean --help?"));
        check("run --key", Err("unknown flag `--key`; did you mean --out?"));
        check("--config", Err("missing argument for option '--config'; see mote --help"));
    }

    #[test]
    fn edit_distance_counts_changed_letters() {
        assert_eq!([distance("kitten", "sitting"), distance("", "abc"), distance("abc", "abc")], [3, 3, 0]);
    }
}
