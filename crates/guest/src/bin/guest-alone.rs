//! A guest by itself, outside any sandbox: what the tests and measurements of this crate run, and a guest for curl.
//!
//! `guest-alone SOCKET DIRECTORY [AGENT_UID [CHANGES_ROOT]]` listens on SOCKET, starts programs in DIRECTORY, and keeps
//! its outbox in an unlinked file beside the socket. With `-` for SOCKET standard input is the listening socket, and
//! there is no outbox. It becomes process 1 only if it is started as that.

use guest::Config;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let socket = PathBuf::from(
        arguments
            .next()
            .ok_or("guest-alone SOCKET DIRECTORY [AGENT_UID [CHANGES_ROOT]]")?,
    );
    let directory = text(arguments.next().ok_or("DIRECTORY is missing")?)?;
    let agent = arguments
        .next()
        .map(text)
        .transpose()?
        .map_or(Ok(0), |uid| uid.parse())?;
    let changes_root = arguments.next().map(PathBuf::from);

    let (listener, outbox) = if socket.as_os_str() == "-" {
        (std::io::stdin().as_fd().try_clone_to_owned()?, None)
    } else {
        let name = socket.with_extension("outbox");
        let outbox = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&name)?;
        std::fs::remove_file(&name)?;
        (UnixListener::bind(&socket)?.into(), Some(outbox.into()))
    };
    guest::run(Config {
        listener,
        outbox,
        agent_uid: agent,
        agent_gid: agent,
        agent_home: "/".to_owned(),
        default_cwd: directory,
        changes_root,
    })?;
    Ok(())
}

fn text(argument: OsString) -> Result<String, String> {
    argument
        .into_string()
        .map_err(|argument| format!("{} is not UTF-8", argument.display()))
}
