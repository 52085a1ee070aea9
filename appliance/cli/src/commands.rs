//! One file a command; this one only chooses.

mod appliance;
mod backup;
mod files;
mod forget;
mod init;
mod key;
mod plan;
mod repair;
mod restore;
mod snapshots;
mod verify;
mod view;

use crate::args::{Arguments, Command};
use crate::output::{Exit, Output, print_bytes};
use clap::CommandFactory;

pub(crate) fn run(command: Command, out: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Init { repo, unlock } => init::run(&repo, &unlock, out),
        Command::Backup { source, repo, name, tags, live, limit_read } => {
            backup::run(&source, &repo, backup::Wishes { name, tags, live, limit_read }, out)
        }
        Command::Snapshots { repo } => snapshots::list(&repo, out),
        Command::Show { snapshot, repo, map } => snapshots::show(&snapshot, &repo, map, out),
        Command::Restore { snapshot, target, repo, partition, force } => {
            restore::run(&snapshot, &target, &repo, partition, force, out)
        }
        Command::Files(command) => files::run(command, out),
        Command::View { snapshot, repo, socket } => view::run(&snapshot, &repo, &socket, out),
        Command::Verify { repo, sample, snapshot, fsck } => verify::run(&repo, sample, snapshot.as_deref(), fsck, out),
        Command::Forget(arguments) => forget::forget(&arguments, out),
        Command::Prune { repo, dry_run } => forget::prune(&repo, dry_run, out),
        Command::Key(command) => key::run(command, out),
        Command::Repair(command) => repair::run(command, out),
        Command::Plan { source } => plan::run(&source, out),
        Command::Appliance(question) => appliance::ask(&question, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "saveos", &mut script);
            print_bytes(&script)?;
            Ok(Exit::Complete)
        }
        Command::Man { folder: Some(folder) } => {
            clap_mangen::generate_to(Arguments::command(), folder)?;
            Ok(Exit::Complete)
        }
        Command::Man { folder: None } => {
            let mut manual = Arguments::command().disable_help_subcommand(true);
            manual.build();
            let mut pages = Vec::new();
            render_pages(manual, &mut pages)?;
            print_bytes(&pages)?;
            Ok(Exit::Complete)
        }
    }
}

/// A page for the command, then one for each below it.
fn render_pages(command: clap::Command, pages: &mut Vec<u8>) -> std::io::Result<()> {
    let below: Vec<clap::Command> = command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
    clap_mangen::Man::new(command).render(pages)?;
    below.into_iter().try_for_each(|below| render_pages(below, pages))
}
