//! What packages ship beside a program: man pages, and scripts that complete commands and flags in a shell. Both are
//! made from the command lines themselves. `main.rs` calls it for `man` and `completion`; `ops/deb-build` runs those.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};

use crate::Cli;

/// The programs that this repository builds.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Program {
    /// This tool, with the daemons as subcommands
    Gatewayworker,
    /// The register alone
    Register,
    /// The businessworker alone
    Businessworker,
    /// The gateway alone
    Gateway,
}

impl Program {
    const ALL: [Self; 4] = [Self::Gatewayworker, Self::Register, Self::Businessworker, Self::Gateway];

    /// Returns its command line.
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Gatewayworker => Cli::command(),
            Self::Register => gatewayworker_register::Cli::command(),
            Self::Businessworker => gatewayworker_businessworker::Cli::command(),
            Self::Gateway => gatewayworker_gateway::Cli::command(),
        }
    }
}

/// Writes the script that completes a program's command line in a shell.
pub(crate) fn completion(shell: clap_complete::Shell, program: Program) -> Vec<u8> {
    let mut command = program.command();
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Writes the man pages of all programs into `directory`, which it makes: `gatewayworker.1`, one for each of its
/// subcommands (`gatewayworker-start.1`), and one for each daemon's own program (`register.1`).
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn man(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for program in Program::ALL {
        // It makes the pages of the calls from their names, which would be sixty.
        let mut command = program.command().disable_help_subcommand(true);
        command.build();
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            page(subcommand.clone(), directory)?;
        }
        page(command, directory)?;
    }
    Ok(())
}

/// Writes one page. Its date is that of the build, so that each build of a commit makes the same bytes.
fn page(command: Command, directory: &Path) -> io::Result<()> {
    let page = clap_mangen::Man::new(command)
        .date(gatewayworker_daemon::build_info().date.unwrap_or_default())
        .source(format!("GatewayWorker {}", env!("CARGO_PKG_VERSION")))
        .manual("GatewayWorker");
    let mut file = fs::File::create(directory.join(page.get_filename()))?;
    page.render(&mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_shell_completes_all_calls_with_their_flags() {
        let script = completion(clap_complete::Shell::Zsh, Program::Gatewayworker);
        let script = String::from_utf8(script).unwrap();
        for call in gatewayworker_client::calls::calls() {
            assert!(script.contains(&format!("({})", call.name.replace('_', "-"))), "{}", call.name);
        }
        assert!(script.contains("--message-base64") && script.contains("--register-address"));
    }

    #[test]
    fn a_shell_completes_the_flags_of_each_program() {
        for program in Program::ALL {
            let script = String::from_utf8(completion(clap_complete::Shell::Bash, program)).unwrap();
            let name = program.command().get_name().to_owned();
            assert!(script.contains(&format!("complete -F _{name} ")), "{name}");
            assert!(script.contains("--config"), "{name}");
        }
    }

    #[test]
    fn there_is_a_page_for_each_program_and_command_with_all_its_flags() {
        let directory = tempfile::tempdir().unwrap();
        let into = directory.path().join("man1");
        man(&into).unwrap();
        let read = |name: &str| {
            fs::read_to_string(into.join(name))
                .unwrap_or_else(|_| panic!("there is no {name}"))
                .replace("\\-", "-")
        };
        let pages: BTreeSet<_> = fs::read_dir(&into).unwrap().map(|page| page.unwrap().file_name()).collect();
        let commands = Cli::command().get_subcommands().count();
        assert_eq!(pages.len(), commands + Program::ALL.len());
        for program in Program::ALL {
            let name = program.command().get_name().to_owned();
            let page = read(&format!("{name}.1"));
            for flag in program.command().get_arguments().filter(|flag| !flag.is_hide_set()) {
                let flag = flag.get_long().unwrap();
                assert!(page.contains(&format!("--{flag}")), "{name} --{flag}");
            }
            assert!(!page.contains("--supervised"));
        }
        assert!(read("gatewayworker-gateway.1").contains("--lan-ip"));
        assert!(read("gatewayworker-call.1").contains("send-to-all"));
    }
}
