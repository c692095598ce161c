//! What a server runs with: each setting from its flag, else its variable, else the configuration file, else as it
//! usually is. Found once, before anything is started: a server that was root may not be able to read it again.

use crate::arguments::ServeArguments;
use crate::check::{choose_upstream, place_for_data};
use crate::layers::{Layers, Source};
use crate::services::Upstream;
use configuration::{Tuning, key_file, shown};
use hosted::AdminKey;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use terminal::{Environment, Failure};

/// The keys of the file that name files with keys.
pub(crate) const MODEL_KEY: &str = "upstream.api_key_file";
pub(crate) const ADMIN_KEY: &str = "admin_key_file";

pub struct ServeSettings {
    /// Where this server keeps its sessions.
    pub data: PathBuf,
    /// The configuration file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// What is logged.
    pub log: String,
    /// Whether it takes the place of the one that is there.
    pub take_over: bool,
    pub tuning: Tuning,
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether somebody has said where to listen.
    pub(crate) is_told_to_listen: bool,
    pub(crate) pool: usize,
    pub(crate) upstream: Upstream,
    /// What is to be said about it.
    pub(crate) notice: Option<String>,
    pub(crate) admin_key: Option<GivenKey>,
    pub(crate) server: server::Config,
    /// For streams that are open when the next server takes over.
    pub(crate) streams: Duration,
}

/// An admin key that was not made here.
pub(crate) struct GivenKey {
    pub(crate) key: String,
    /// Nothing where the environment has it.
    pub(crate) file: Option<PathBuf>,
}

impl ServeSettings {
    pub fn find(arguments: &ServeArguments, environment: &Environment) -> Result<Self, Failure> {
        let mut layers = Layers::find(arguments.config.as_deref(), environment)?;
        layers.add_environment(environment)?;
        layers.add_flags(arguments);
        check(&layers)?;
        let config = &layers.config;
        let data = config.data.as_ref().map(|path| path.0.clone());
        let (upstream, notice) = upstream(&layers, arguments, environment)?;
        Ok(Self {
            data: place_for_data(data, environment)?,
            file: layers.document.as_ref().map(|document| document.path.clone()),
            log: config.log.0.clone(),
            take_over: arguments.take_over,
            tuning: Tuning {
                limits: config.sandbox_limits(),
                jailer: config.jailer,
                models: config.models(),
                egress: config.egress(),
            },
            listen: config.listen.0.clone(),
            is_told_to_listen: layers.source("listen") != Source::Default,
            pool: config.pool.0 as usize,
            upstream,
            notice,
            admin_key: admin_key(&layers, environment)?,
            server: config.server(),
            streams: config.ending.streams.0,
        })
    }
}

/// What one value alone does not show.
pub(crate) fn check(layers: &Layers) -> Result<(), Failure> {
    let limits = &layers.config.limits;
    if limits.silence.0 <= limits.ping.0 {
        let (long, short) = ("limits.silence", "limits.ping");
        return Err(wrong(
            layers,
            (long, "must be longer than"),
            (short, "must be shorter than"),
        ));
    }
    if limits.body_deadline.0 < limits.body_pause.0 {
        let (long, short) = ("limits.body_deadline", "limits.body_pause");
        return Err(wrong(
            layers,
            (long, "must not be shorter than"),
            (short, "must not be longer than"),
        ));
    }
    Ok(())
}

/// That two keys do not go together, of the first one that somebody has set.
fn wrong(layers: &Layers, one: (&str, &str), other: (&str, &str)) -> Failure {
    let is_set = layers.source(one.0) != Source::Default;
    let ((key, must), (of, _)) = if is_set { (one, other) } else { (other, one) };
    let value = layers.values().remove(of);
    let value = value.map_or_else(String::new, |value| format!(", which is {}", shown(&value)));
    layers.wrong(key, &format!("{must} `{of}`{value}"))
}

/// A variable is taken before the file that has the key.
fn upstream(
    layers: &Layers,
    arguments: &ServeArguments,
    environment: &Environment,
) -> Result<(Upstream, Option<String>), Failure> {
    let mut environment = environment.clone();
    if environment.api_key.is_none() && arguments.simulate.is_none() {
        environment.api_key = model_key(layers)?.map(OsString::from);
    }
    let base_url = layers.config.upstream.base_url.as_ref();
    environment.base_url = base_url.map(|url| url.0.clone().into());
    let nobody = environment.api_key.is_none() && arguments.simulate.is_none();
    let chosen = choose_upstream(arguments.simulate.as_deref(), None, &environment);
    chosen.map_err(|failure| if nobody && environment.server_url.is_none() { failure.hint(format!(
        "set it to your key, or name a file that has it in the configuration (`{MODEL_KEY}`), or let the simulated \
         model play a script with --simulate FILE"
    )) } else { failure })
}

/// What the file that the configuration names has.
pub(crate) fn model_key(layers: &Layers) -> Result<Option<String>, Failure> {
    let path = layers.config.upstream.api_key_file.as_ref();
    path.map(|path| read(layers, MODEL_KEY, &path.0)).transpose()
}

/// The environment's, or that of the file that the configuration names.
pub(crate) fn admin_key(layers: &Layers, environment: &Environment) -> Result<Option<GivenKey>, Failure> {
    if let Some(key) = &environment.server_key {
        let key = key.to_string_lossy().into_owned();
        AdminKey::check(&key).map_err(Failure::usage)?;
        return Ok(Some(GivenKey { key, file: None }));
    }
    let Some(path) = &layers.config.admin_key_file else {
        return Ok(None);
    };
    let key = read(layers, ADMIN_KEY, &path.0)?;
    if AdminKey::check(&key).is_err() {
        let problem = format!(
            "names {}, which has no admin key: 16 to 1024 visible characters without spaces",
            path.0.display()
        );
        return Err(layers.wrong(ADMIN_KEY, &problem));
    }
    let file = Some(path.0.clone());
    Ok(Some(GivenKey { key, file }))
}

/// For commands that are clients of a server of this machine.
pub(crate) fn known_admin_key(environment: &Environment) -> Result<Option<String>, Failure> {
    let layers = Layers::find(None, environment)?;
    Ok(admin_key(&layers, environment)?.map(|given| given.key))
}

fn read(layers: &Layers, name: &str, path: &Path) -> Result<String, Failure> {
    key_file::read(path).map_err(|error| layers.wrong(name, &error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;
    use configuration::JailerStart;
    use std::path::Path;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn settings(flags: &[&str], environment: &Environment) -> ServeSettings {
        let line = Line::try_parse_from(["serve"].iter().chain(flags)).unwrap();
        match ServeSettings::find(&line.serve, environment) {
            Ok(settings) => settings,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// A file that says everything that flags and variables can say, and a variable for each that there is one for.
    fn layers(directory: &Path) -> [Environment; 3] {
        let file = directory.join("hostler.toml");
        let text = "listen = \"127.0.0.1:1\"\ndata = \"/nowhere/file\"\npool = 1\njailer = \"service\"\nlog = \"warn\"\n\
                    open_metrics = true\n[upstream]\nbase_url = \"https://file.example\"\n[ending]\nrequests = \"1s\"\n\
                    streams = \"2s\"\n[sandbox]\nmemory = \"2G\"\n[rates]\ncreate = 7\n";
        std::fs::write(&file, text).unwrap();
        let none = Environment {
            api_key: Some("sk-x".into()),
            home: Some("/nowhere/home".into()),
            ..Environment::default()
        };
        let with_file = Environment {
            config: Some(file),
            ..none.clone()
        };
        let with_variables = Environment {
            listen: Some("127.0.0.1:2".into()),
            data: Some("/nowhere/variable".into()),
            log: Some("debug".into()),
            base_url: Some("https://variable.example/".into()),
            ..with_file.clone()
        };
        [none, with_file, with_variables]
    }

    fn base_url(settings: &ServeSettings) -> Option<&str> {
        match &settings.upstream {
            Upstream::Model { base_url, .. } => base_url.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn a_flag_comes_before_a_variable_a_variable_before_the_file_and_the_file_before_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let [none, with_file, with_variables] = layers(directory.path());
        let flags = [
            "--listen",
            "127.0.0.1:3",
            "--listen",
            "[::1]:3",
            "--data",
            "/nowhere/flag",
            "--pool",
            "0",
            "--jailer",
            "own",
            "--open-metrics",
        ];
        let table = [
            (
                settings(&[], &none),
                8700,
                "/nowhere/home/.local/state/hostler",
                "info",
                None,
                8,
            ),
            (
                settings(&[], &with_file),
                1,
                "/nowhere/file",
                "warn",
                Some("https://file.example"),
                1,
            ),
            (
                settings(&[], &with_variables),
                2,
                "/nowhere/variable",
                "debug",
                Some("https://variable.example"),
                1,
            ),
            (
                settings(&flags, &with_variables),
                3,
                "/nowhere/flag",
                "debug",
                Some("https://variable.example"),
                0,
            ),
        ];
        for (settings, port, data, log, url, pool) in &table {
            assert_eq!(settings.listen[0].port(), *port);
            assert_eq!(settings.data, Path::new(data));
            assert_eq!(settings.log, *log);
            assert_eq!(base_url(settings), *url);
            assert_eq!(settings.pool, *pool);
            assert_eq!(settings.is_told_to_listen, *port != 8700);
        }
        let [(defaults, ..), (of_file, ..), _, (of_flags, ..)] = &table;
        assert_eq!(of_flags.listen.len(), 2);
        for (settings, jailer, open, seconds) in [
            (defaults, JailerStart::Own, false, [20, 600]),
            (of_file, JailerStart::Service, true, [1, 2]),
            (of_flags, JailerStart::Own, true, [1, 2]),
        ] {
            assert_eq!(settings.tuning.jailer, jailer);
            assert_eq!(settings.server.open_metrics, open);
            let found = [settings.server.limits.drain, settings.streams];
            assert_eq!(found, seconds.map(Duration::from_secs));
        }
        assert_eq!(of_file.tuning.limits.memory_bytes, 2 << 30);
        assert_eq!(of_file.server.rates.create, 7);
        assert_eq!(defaults.tuning, Tuning::default());
    }

    #[test]
    fn keys_are_taken_from_files_where_no_variable_has_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            path
        };
        let model = written("model", "sk-of-the-file\n");
        let admin = written("admin", "hk_of-the-file-that-is-named\n");
        let text = format!(
            "admin_key_file = \"{}\"\nupstream.api_key_file = \"{}\"\n",
            admin.display(),
            model.display()
        );
        let in_file = Environment {
            config: Some(written("hostler.toml", &text)),
            home: Some("/nowhere/home".into()),
            ..Environment::default()
        };
        let in_variables = Environment {
            api_key: Some("sk-of-the-variable".into()),
            server_key: Some("hk_of-the-variable".into()),
            ..in_file.clone()
        };
        for (environment, model, admin, file) in [
            (
                &in_file,
                "sk-of-the-file",
                "hk_of-the-file-that-is-named",
                Some(admin.clone()),
            ),
            (&in_variables, "sk-of-the-variable", "hk_of-the-variable", None),
        ] {
            let settings = settings(&[], environment);
            assert!(matches!(&settings.upstream, Upstream::Model { key, .. } if key == model));
            let given = settings.admin_key.unwrap();
            assert_eq!((given.key.as_str(), given.file), (admin, file));
            assert_eq!(known_admin_key(environment).unwrap().as_deref(), Some(admin));
        }
    }
}
