//! The registry on another host's PostgreSQL: by TLS, and only with the host that was meant.

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::process::Command;

use ntm_raw_node::Fleet;
use postgres::Postgres;
use support::{Dc, Domain, loopback, register_all};

#[test]
fn a_registry_is_reached_by_tls_and_one_that_nobody_vouches_for_is_not_used() {
    let postgres = Postgres::start_with_tls();
    let domain = Domain::new("ntm.example");
    let mut dc = Dc::prepare(&domain, "dc1", "");
    let by_tls = |authorities: &str| format!("\"{}?sslmode=require&sslrootcert={authorities}\"", postgres.url());
    let foreign = rcgen::generate_simple_self_signed(["db.example".to_owned()]).expect("a certificate");
    let file = dc.folder.join("foreign.pem");
    std::fs::write(&file, foreign.cert.pem()).expect("writes");
    dc.configure(&by_tls(file.to_str().expect("a text")), "");
    let output = Command::new(env!("CARGO_BIN_EXE_ntm-dc")).arg("--config").arg(dc.config_path()).output();
    let said = String::from_utf8(output.expect("runs").stderr).expect("text");
    assert!(said.contains("registry") && said.contains("certificate"), "{said}");

    dc.configure(&by_tls(postgres.certificate().to_str().expect("a text")), "");
    dc.run();
    let mut fleet = Fleet::new().expect("a poll");
    fleet.add(&domain.node("a", std::slice::from_ref(&dc.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
    assert_eq!(postgres.ask("select count(*) from ntm_nodes"), "1");
    let encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
                     where application_name = 'ntm-dc'";
    assert_eq!(postgres.ask(encrypted), "t");
}
