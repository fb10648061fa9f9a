//! `ntm keep`: what the shim starts where a program leaves its ports to others (children, or the program that takes its
//! place) and the process that had the node's stack is about to end.

use std::os::fd::RawFd;
use std::time::Duration;

use clap::Args;
use ntm_agent::{Local, Port};
use ntm_program::{Failure, ResultExt as _};
use ntmfw::service;

use crate::host;
use crate::session::failure;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Listen at ports that a program gave up, until nobody holds them
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Descriptors of each: the library's end of its pair, and the kernel's port beside it (`9` or `9:10`)
    #[arg(required = true, value_parser = descriptors)]
    ports: Vec<(RawFd, Option<RawFd>)>,
}

impl Keep {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        // What else the program had, ends of these very ports among it, is not to be held by this process.
        host::close_others(self.ports.iter().flat_map(|(back, kernel)| [Some(*back), *kernel].into_iter().flatten()));
        let inherited = |fd: RawFd| host::inherited(fd).ok_or_else(|| Failure::usage(format!("no descriptor {fd}")));
        let ports = self
            .ports
            .into_iter()
            .map(|(back, kernel)| Ok(Port { back: inherited(back)?, kernel: kernel.map(inherited).transpose()? }));
        let ports = ports.collect::<Result<Vec<_>, Failure>>()?;
        host::go_into_background().context("cannot go into the background")?;
        // Waits until the process that had the node is gone.
        let node = Local::begin().map_err(failure)?;
        for port in ports {
            node.take_over(port).map_err(failure)?;
        }
        host::fall_silent().context("/dev/null")?;
        while node.is_needed() {
            std::thread::sleep(LOOK_AGAIN);
        }
        service::end();
        Ok(())
    }
}

fn descriptors(text: &str) -> Result<(RawFd, Option<RawFd>), String> {
    let number = |text: &str| text.parse().map_err(|_| format!("{text}: no number of a descriptor"));
    match text.split_once(':') {
        Some((back, kernel)) => Ok((number(back)?, Some(number(kernel)?))),
        None => Ok((number(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_descriptor_or_two() {
        assert_eq!(descriptors("9"), Ok((9, None)));
        assert_eq!(descriptors("9:10"), Ok((9, Some(10))));
        assert!(descriptors("").is_err() && descriptors("9:").is_err() && descriptors("x:1").is_err());
    }
}
