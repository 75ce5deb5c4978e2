//! `nats-matrix connect`: how a person gets to the room with a phone.

use std::{fmt::Write as _, io::IsTerminal};

use matrix_sdk::ruma::{
    OwnedRoomAliasId, OwnedServerName, RoomAliasId, ServerName, UserId,
    api::client::discovery::discover_homeserver,
};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use url::Url;

use crate::{
    cli::common::{ConfigFile, block_on, print, print_for_terminal},
    config::{Config, Route},
    failure::Failure,
    matrix::{Account, LoginError, Session},
};

/// Of the 256 colours, as the first sixteen are whatever the terminal's theme makes of them.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";

const RESET: &str = "\x1b[0m";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    let config = Config::load(&options.config.config)?;
    let (server, homeserver) = block_on(address(&config))??;
    print(&accounts(&config, &server, &homeserver));
    for room in rooms(&config, &server) {
        let link = room.matrix_to_uri().to_string();
        let code = qr_code(&link, std::io::stdout().is_terminal())?;
        print(&format!("The room {room}: accept its invitation, or scan this with the phone\n"));
        print_for_terminal(&code);
        print(&format!("{link}\n"));
    }
    Ok(())
}

/// The server's name, and the URL that people reach it by, which is not the one that the bridge uses.
async fn address(config: &Config) -> Result<(OwnedServerName, String), Failure> {
    let there = &config.matrix;
    let server = match Account::open_briefly(there.clone()).await {
        Ok(account) => {
            let name = account.user.server_name().to_owned();
            account.log_out().await;
            name
        }
        // The password may be the service's alone.
        Err(LoginError::Final(Failure::Config(what))) => {
            named_by_routes(config).ok_or(Failure::Config(what))?
        }
        Err(LoginError::Final(failure)) => return Err(failure),
        Err(LoginError::Passing(error)) => {
            return Err(Failure::Unavailable(format!("{}: {error}", there.homeserver)));
        }
    };
    let session = Session::anonymous(there)?;
    let homeserver = match session.send(discover_homeserver::Request::new()).await {
        // What is no address is nothing to type, and could be lines that look like ours.
        Ok(told) => Url::parse(&told.homeserver.base_url)
            .map_err(|error| {
                Failure::Unavailable(format!(
                    "{}: names itself by no address: {error}",
                    there.homeserver
                ))
            })?
            .as_str()
            .trim_end_matches('/')
            .to_owned(),
        Err(_) => format!("https://{server}"),
    };
    Ok((server, homeserver))
}

/// The server of the routes' rooms, if it is one.
fn named_by_routes(config: &Config) -> Option<OwnedServerName> {
    let server = |route: &Route| route.rooms.of("").server_name().map(ToOwned::to_owned);
    let mut names: Vec<_> = config.routes.iter().filter_map(server).collect();
    names.dedup();
    match &names[..] {
        [name] => Some(name.clone()),
        _ => None,
    }
}

fn accounts(config: &Config, server: &ServerName, homeserver: &str) -> String {
    let mut text = format!(
        "In Element (https://element.io/download) choose \"Sign in\", and change the homeserver, which is \
         matrix.org at first:\n\n  homeserver  {homeserver}\n"
    );
    for user in &config.provision.users {
        let id = UserId::parse_with_server_name(user.localpart.as_str(), server)
            .expect("the configuration takes only names that are valid");
        // A declared one may be a credential, which is the service's alone; and who was there before has another.
        let password = match user.password_file.try_exists() {
            Ok(false) => "the one that was declared, or that was chosen since".to_owned(),
            _ => format!("sudo cat {}", user.password_file.display()),
        };
        // Writing to a String cannot fail.
        let _ =
            write!(text, "\n  user        {} ({id})\n  password    {password}\n", user.localpart);
    }
    text
}

/// The declared rooms; without any, those of the routes that have an alias.
fn rooms(config: &Config, server: &ServerName) -> Vec<OwnedRoomAliasId> {
    let declared: Vec<_> = config
        .provision
        .rooms
        .iter()
        .filter_map(|room| RoomAliasId::parse(format!("#{}:{server}", room.alias)).ok())
        .collect();
    if !declared.is_empty() {
        return declared;
    }
    let mut rooms: Vec<_> = config
        .routes
        .iter()
        .filter_map(|route| RoomAliasId::parse(route.rooms.one()?.as_str()).ok())
        .collect();
    rooms.sort();
    rooms.dedup();
    rooms
}

/// A QR code of block characters, two modules to each. On a terminal its colours are set, as a code with light
/// and dark exchanged is one that not every phone reads.
fn qr_code(text: &str, on_terminal: bool) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| Failure::Bug(format!("no QR code of {text}: {error}")))?;
    // "Dark" is a character that is there, in the colour of the text.
    let code = code.render::<Dense1x2>().build();
    if !on_terminal {
        return Ok(code + "\n");
    }
    let lines = code.lines().map(|line| [BLACK_ON_WHITE, line, RESET, "\n"].concat());
    Ok(lines.collect::<Vec<_>>().concat())
}
