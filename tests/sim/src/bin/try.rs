use ntm_sim::scenarios::{chaos, matrix, moves, setup, spot::Spot};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args.get(2).map_or(0, |s| s.parse().unwrap());
    let n: u64 = args.get(3).map_or(1, |s| s.parse().unwrap());
    match args[1].as_str() {
        "matrix" => {
            let spots = Spot::all();
            for a in &spots {
                for b in &spots {
                    match matrix::run_cell(1, *a, *b) {
                        Ok(c) => {
                            let (f, l) = c.in_round_trips();
                            println!(
                                "{:14} {:14} possible {} direct {} {:.2} / {:.2} {}",
                                a.name(),
                                b.name(),
                                c.possible,
                                c.direct,
                                f,
                                l,
                                if matrix::judge(&c).is_err() { "BAD" } else { "" }
                            )
                        }
                        Err(e) => println!("{:14} {:14} FAIL {e}", a.name(), b.name()),
                    }
                }
            }
        }
        "setup" => {
            for case in &setup::CASES {
                println!("{:?} {:?}", case.name, setup::run_case(1, case));
            }
        }
        "moves" => {
            for seed in from..from + n {
                match moves::run_seed(seed) {
                    Ok(s) => {
                        for s in s {
                            println!(
                                "{seed} {:?} direct {} rtt {:?} int {:?} lost {} {}",
                                s.incident,
                                s.direct,
                                s.rtt,
                                s.interruption,
                                s.lost,
                                if s.is_within() { "" } else { "BAD" }
                            )
                        }
                    }
                    Err(e) => println!("{seed} FAIL {e}"),
                }
            }
        }
        "chaos" => {
            for seed in from..from + n {
                let t = std::time::Instant::now();
                let r = chaos::run_seed(seed);
                println!("{seed} {r:?} {:?}", t.elapsed());
            }
        }
        _ => panic!(),
    }
}
