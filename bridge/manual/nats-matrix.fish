# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nats_matrix_global_optspecs
    string join \n h/help V/version
end

function __fish_nats_matrix_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nats_matrix_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nats_matrix_using_subcommand
    set -l cmd (__fish_nats_matrix_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -s V -l version -d 'Print version'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "run" -d 'Relay messages until told to stop'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "check" -d 'Check configuration, servers, subjects, login and rooms; say what is wrong and what to do'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "provision" -d 'Make the declared accounts and rooms that are missing, and bring the others to what is declared'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "connect" -d 'Say how a person gets to the room with a phone, with a QR code'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "preview" -d 'Show what a room would show for the payload on standard input'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "summary" -d 'Sum up what came in by a route up to now, to look at it or to post it'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "schema" -d 'Print the JSON Schema of a report or an alert'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand run" -s c -l config -d 'The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand run" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand check" -s c -l config -d 'The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand check" -l offline -d 'Check the configuration alone: no network, no secrets'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand check" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -s c -l config -d 'The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -l rotate -d 'Give an account a new password, in the file that held the old one, and end its sessions. Nothing else is done. The homeserver must run' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -l dry-run -d 'Say what would be done, and do nothing'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand connect" -s c -l config -d 'The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand connect" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l subject -d 'The subject that the message would be published on' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l format -d 'Everything for a person, or the content of the Matrix event' -r -f -a "text\t''
json\t''"
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -s c -l config -d 'The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l route -d 'The route; need not be said if there is only one' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l of -d 'Of which span of time up to now; that of the route\'s own summaries if not said, else a day' -r -f -a "day\t''
week\t''"
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l output -d 'Write the picture into this file, as a PNG' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l post -d 'Post it into the route\'s room'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand schema" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "run" -d 'Relay messages until told to stop'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "check" -d 'Check configuration, servers, subjects, login and rooms; say what is wrong and what to do'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "provision" -d 'Make the declared accounts and rooms that are missing, and bring the others to what is declared'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "connect" -d 'Say how a person gets to the room with a phone, with a QR code'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "preview" -d 'Show what a room would show for the payload on standard input'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "summary" -d 'Sum up what came in by a route up to now, to look at it or to post it'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "schema" -d 'Print the JSON Schema of a report or an alert'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check provision connect preview summary schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
