//! Manual pages and completions, as a package wants them: made from the command lines themselves.

use clap::{Command, CommandFactory as _, Parser};
use clap_complete::Shell;
use std::io;
use std::path::{Path, PathBuf};

/// A Customer Edge Switching gateway
#[derive(Parser)]
#[command(name = "cesd", version)]
pub struct Cesd {
    /// The configuration
    #[arg(long)]
    pub config: PathBuf,
    /// Only read and check the configuration and all files that it names
    #[arg(long)]
    pub check: bool,
    /// With --check: look at what the configuration needs of this machine as well, and say what mends it
    #[arg(long, requires = "check")]
    pub machine: bool,
}

/// Writes the pages of cesd (section 8) and of its command line (section 1), and the completions of both for each shell.
pub fn write(cesctl: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::Man::new(Cesd::command())
        .section("8")
        .manual("System administration")
        .generate_to(directory)?;
    clap_mangen::generate_to(cesctl.clone(), directory)?;
    for mut command in [Cesd::command(), cesctl] {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command, &name, directory)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_completions_for_each_shell() {
        let directory = std::env::temp_dir().join(format!("ces-pages-{}", std::process::id()));
        let cesctl = Command::new("cesctl").subcommand(Command::new("show").about("Show what there is"));
        write(cesctl, &directory).unwrap();
        for name in
            ["cesd.8", "cesctl.1", "cesctl-show.1", "cesctl.bash", "_cesctl", "cesctl.fish", "cesd.bash"]
        {
            let text = std::fs::read_to_string(directory.join(name)).unwrap();
            assert!(!text.is_empty(), "{name}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
