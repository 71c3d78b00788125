//! The long form of the crash test.
//!
//! ```text
//! cargo build --release --features crash-points && cargo run --release -p tidemill-crash -- [--kills N] [--seed S]
//!   [--binary PATH] [--folder PATH] [--only JOB,…] [--shards 1,2,3] [--workers N] [--scale N] [--rescale] [--plant NAME]
//! ```
//!
//! Prints how often each crash point had its kill. Ends with 1, and keeps the files, at the first row too many or too few.

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_crash::campaign::Campaign;

fn main() -> ExitCode {
    let campaign = match campaign() {
        Ok(campaign) => campaign,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    eprintln!("{campaign:?}");
    match campaign.run() {
        Ok(outcome) => {
            println!(
                "{}{} kills counted in {} rounds, all rows as they should be",
                outcome.points, outcome.kills, outcome.rounds
            );
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn campaign() -> Result<Campaign, String> {
    let mut campaign = Campaign {
        kills: 10_000,
        seed: 1,
        binary: PathBuf::from("target/release/tidemill"),
        folder: tidemill_crash::campaign::fast_folder(),
        only: Vec::new(),
        shards: vec![1, 2, 3],
        rescale: false,
        workers: 2,
        scale: 1,
        all_points: true,
        plant: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        if option == "--rescale" {
            campaign.rescale = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{option} {value}: {error}"));
        match option.as_str() {
            "--kills" => campaign.kills = number()?,
            "--seed" => campaign.seed = number()?,
            "--workers" => campaign.workers = number()? as usize,
            "--scale" => campaign.scale = number()?,
            "--binary" => campaign.binary = PathBuf::from(value),
            "--folder" => campaign.folder = PathBuf::from(value),
            "--plant" => campaign.plant = Some(value),
            "--only" => campaign.only = value.split(',').map(str::to_owned).collect(),
            "--shards" => {
                let counts = value.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
                campaign.shards = counts.map_err(|error| format!("--shards {value}: {error}"))?;
            }
            _ => return Err(format!("there is no {option}")),
        }
    }
    campaign.all_points &= campaign.only.is_empty();
    campaign.binary = std::path::absolute(&campaign.binary).map_err(|error| error.to_string())?;
    Ok(campaign)
}
