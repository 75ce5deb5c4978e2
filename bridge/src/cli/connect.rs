//! `nats-matrix connect`: shows how a person gets to the room with a phone.

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

/// The escape sequence for black on white. It uses the 256 fixed colours, as a terminal's theme may redefine the
/// first sixteen.
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

/// Returns the server's name and its public URL, which is not the one that the bridge uses.
async fn address(config: &Config) -> Result<(OwnedServerName, String), Failure> {
    let there = &config.matrix;
    let server = match Account::open_briefly(there.clone()).await {
        Ok(account) => {
            let name = account.user.server_name().to_owned();
            account.log_out().await;
            name
        }
        // The password may be readable for the service alone. The routes then give the server's name.
        Err(LoginError::Permanent(Failure::Config(what))) => {
            named_by_routes(config).ok_or(Failure::Config(what))?
        }
        Err(LoginError::Permanent(failure)) => return Err(failure),
        Err(LoginError::Transient(error)) => {
            return Err(Failure::Unavailable(format!("{}: {error}", there.homeserver)));
        }
    };
    let session = Session::anonymous(there)?;
    let homeserver = match session.send(discover_homeserver::Request::new()).await {
        // A text that is not a URL is useless to type, and could imitate further lines of our output.
        Ok(told) => Url::parse(&told.homeserver.base_url)
            .map_err(|error| {
                Failure::Unavailable(format!(
                    "{}: publishes an address that is not a URL: {error}",
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

/// Returns the server of the routes' rooms, if all of them have the same.
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
        // A declared password file may be a credential that only the service can read; and an account that existed
        // before has another password.
        let password = match user.password_file.try_exists() {
            Ok(false) => "the declared one, or the one chosen since".to_owned(),
            _ => format!("sudo cat {}", user.password_file.display()),
        };
        // Writing to a String cannot fail.
        let _ =
            write!(text, "\n  user        {} ({id})\n  password    {password}\n", user.localpart);
    }
    text
}

/// Returns the declared rooms; without any, the aliases of the routes' rooms.
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

/// Draws a QR code with block characters, two modules in each. On a terminal the colours are set, as not every phone
/// reads a code with dark and light exchanged.
fn qr_code(text: &str, on_terminal: bool) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| Failure::Bug(format!("no QR code of {text}: {error}")))?;
    // A dark module is drawn as a block, in the colour of the text.
    let code = code.render::<Dense1x2>().build();
    if !on_terminal {
        return Ok(code + "\n");
    }
    let lines = code.lines().map(|line| [BLACK_ON_WHITE, line, RESET, "\n"].concat());
    Ok(lines.collect::<Vec<_>>().concat())
}
