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
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "run" -d 'Relay messages until stopped'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "check" -d 'Check the configuration, servers, subjects, login and rooms, and say what is wrong and what to do'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "consumers" -d 'List the durable consumers of the routes, or rename them'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "provision" -d 'Create the declared accounts and rooms that are missing, and update the others'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "connect" -d 'Show how to get to the room with a phone, with a QR code'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "report" -d 'Publish a report about this machine: disk, memory, load, failed units and finished tasks'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "alert" -d 'Publish an alert that needs a person\'s attention'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "preview" -d 'Show what a room would show for the payload on standard input, or for samples'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "summary" -d 'Summarise a route\'s messages up to now, to look at the summary or to post it'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "schema" -d 'Print the JSON Schema of a report or an alert'
complete -c nats-matrix -n "__fish_nats_matrix_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand run" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand check" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand check" -l offline -d 'Check the configuration alone: no network, no secrets'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand check" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and not __fish_seen_subcommand_from move help" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and not __fish_seen_subcommand_from move help" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and not __fish_seen_subcommand_from move help" -f -a "move" -d 'Give a consumer that is named just like its route a name that no other site has'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and not __fish_seen_subcommand_from move help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and __fish_seen_subcommand_from move" -l route -d 'The route. All of them if it is omitted' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and __fish_seen_subcommand_from move" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and __fish_seen_subcommand_from move" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and __fish_seen_subcommand_from help" -f -a "move" -d 'Give a consumer that is named just like its route a name that no other site has'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand consumers; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -l rotate -d 'Give an account a new password, write it into its password file, and end all its sessions. Nothing else is done. The homeserver must be running' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -l dry-run -d 'Show what would be done, and change nothing'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand provision" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand connect" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand connect" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l server -d 'The NATS server, as `nats://host:4222`, instead of a configuration' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l subject -d 'The subject to publish on. By default it ends with the host\'s name' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l timeout -d 'The time to keep trying, like `10s` or `1h`' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l spool -d 'The directory in which messages wait until NATS has accepted them' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l completed -d 'A finished task. May be given several times' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l in-progress -d 'A task in progress. May be given several times' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l satisfaction -d 'Your satisfaction, from 0 to 5' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l host -d 'The name of this machine, instead of its host name' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l disk -d 'The mount point of a file system whose usage to report. May be given several times; the fullest one is reported. By default the root file system' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l failed-units -d 'A file with the output of `systemctl list-units --state=failed --plain --no-legend`, or an empty line if there was none. For a service that may not ask systemd itself' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l no-spool -d 'Do not keep the message if it cannot be sent'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -l dry-run -d 'Show what would be published, without publishing it'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand report" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l server -d 'The NATS server, as `nats://host:4222`, instead of a configuration' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l subject -d 'The subject to publish on. By default it ends with the host\'s name' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l timeout -d 'The time to keep trying, like `10s` or `1h`' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l spool -d 'The directory in which messages wait until NATS has accepted them' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l severity -d 'The severity: `critical`, `warning` or `info`' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l summary -d 'A summary of the event, in one line' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l source -d 'The source of the alert, instead of this machine' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l description -d 'Further details; `-` reads them from standard input' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l label -d 'A label that tells alerts apart. May be given several times' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l url -d 'A link to more information' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l fingerprint -d 'The identity of the problem: alerts with the same fingerprint are about the same one' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l unit -d 'A failed systemd unit. The alert says why it failed and quotes its last lines in the journal, with secrets masked. It is critical unless --severity is given' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l no-spool -d 'Do not keep the message if it cannot be sent'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l dry-run -d 'Show what would be published, without publishing it'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -l resolved -d 'The problem is over'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand alert" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l subject -d 'The subject of the message; a sample has one of its own' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l format -d 'The output: text for a person, the content of the Matrix event, or a page for a browser' -r -f -a "text\t''
json\t''
html\t''"
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l template -d 'A template, or a directory of templates, to use instead of the built-in ones' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l language -d 'The language of the built-in texts' -r -f -a "en\t'English'
zh\t'Chinese, in simplified characters'"
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l time-zone -d 'The time zone for times, like "Europe/Berlin"' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l sample -d 'Show this sample instead of standard input' -r -f -a "report\t''
report-short\t''
alert\t''
alert-resolved\t''
alert-short\t''
alertmanager\t''
alertmanager-group\t''
alertmanager-short\t''
grafana\t''
uptime-kuma-down\t''
uptime-kuma-up\t''
forgejo-push\t''
forgejo-pull-request\t''
forgejo-comment\t''
forgejo-run-failure\t''
forgejo-run-recover\t''
forgejo-short\t''
cloudevent\t''
cloudevent-short\t''
object\t''
text\t''
broken\t''"
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -l gallery -d 'Show all samples'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand preview" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -s c -l config -d 'The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l route -d 'The route. May be omitted if there is only one' -r
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l of -d 'The period to summarise, ending now. By default that of the route\'s own summaries, or else a day' -r -f -a "day\t''
week\t''"
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l output -d 'Write the picture to this file, as a PNG' -r -F
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -l post -d 'Post the summary to the route\'s room'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand summary" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand schema" -s h -l help -d 'Print help'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "run" -d 'Relay messages until stopped'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "check" -d 'Check the configuration, servers, subjects, login and rooms, and say what is wrong and what to do'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "consumers" -d 'List the durable consumers of the routes, or rename them'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "provision" -d 'Create the declared accounts and rooms that are missing, and update the others'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "connect" -d 'Show how to get to the room with a phone, with a QR code'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "report" -d 'Publish a report about this machine: disk, memory, load, failed units and finished tasks'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "alert" -d 'Publish an alert that needs a person\'s attention'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "preview" -d 'Show what a room would show for the payload on standard input, or for samples'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "summary" -d 'Summarise a route\'s messages up to now, to look at the summary or to post it'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "schema" -d 'Print the JSON Schema of a report or an alert'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and not __fish_seen_subcommand_from run check consumers provision connect report alert preview summary schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nats-matrix -n "__fish_nats_matrix_using_subcommand help; and __fish_seen_subcommand_from consumers" -f -a "move" -d 'Give a consumer that is named just like its route a name that no other site has'
