# Reports of this machine, and alerts about its failed units. It needs only NATS: no other part of nats-matrix has to be
# on the machine.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  cfg = config.services.natsMatrix;
  reporter = cfg.reporter;
  inherit (import ./lib.nix { inherit lib; })
    acceptedBy
    credentialPaths
    dropNull
    loadCredentials
    natsFiles
    sandbox
    ;

  format = pkgs.formats.toml { };
  program = lib.getExe cfg.package;

  failedUnits = "%t/nats-matrix-report/failed-units";

  # Checked by the program itself, which prints what it would publish.
  checkedConfigFile = acceptedBy pkgs "nats-matrix-checked.toml" (
    file: "${program} report --dry-run --config ${file}"
  ) (format.generate "nats-matrix.toml" cfg.settings);

  # The settings that both units share. They run as one user, so that they share the spool of unsent messages.
  publisher = {
    documentation = [
      "https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/publishing.md"
    ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    path = lib.mkForce [ ];
    # For systemctl and journalctl, in all the directories that the supported systems have them in.
    environment.PATH = "/run/current-system/systemd/bin:/usr/bin:/bin";
    # A change of the declaration is no reason to publish.
    restartIfChanged = false;
    serviceConfig = sandbox // {
      Type = "oneshot";
      User = "nats-matrix-publish";
      StateDirectory = "nats-matrix-publish";
      StateDirectoryMode = "0700";
      LoadCredential = loadCredentials (credentialPaths cfg natsFiles);
      MemoryMax = "100M";
      # Memory, load and uptime are read from /proc.
      ProcSubset = "all";
      # With an empty directory in place of /home, the disk would be reported as empty.
      ProtectHome = "read-only";
    };
  };
in
{
  options.services.natsMatrix.reporter = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether this machine publishes reports about itself, by `nats-matrix-report.timer`, and has the template
        `nats-matrix-alert@.service`, which publishes that a unit has failed: `OnFailure=nats-matrix-alert@%n.service`. It
        needs {option}`services.natsMatrix.nats`, but not {option}`services.natsMatrix.enable`.
      '';
    };

    interval = lib.mkOption {
      type = lib.types.str;
      default = "hourly";
      example = "*:0/15";
      description = "When to report, as in {manpage}`systemd.time(7)`. Each machine adds its own delay of up to five minutes.";
    };

    host = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "server-01";
      description = "The name of this machine in reports and alerts, instead of its host name.";
    };

    disks = lib.mkOption {
      type = lib.types.nonEmptyListOf lib.types.path;
      default = [ "/" ];
      example = [
        "/"
        "/var"
      ];
      description = "The mount points of the file systems whose usage is reported.";
    };

    reportSubject = lib.mkOption {
      type = lib.types.str;
      default = "ops.report";
      example = "fleet.report";
      description = "The subject of reports; the name of the machine is appended, as in `ops.report.server-01`.";
    };

    alertSubject = lib.mkOption {
      type = lib.types.str;
      default = "ops.alert";
      example = "fleet.alert";
      description = "The subject of alerts; the name of the machine is appended.";
    };

    journalLines = lib.mkOption {
      type = lib.types.ints.between 0 200;
      default = 20;
      example = 0;
      description = ''
        The number of the failed unit's last journal lines that an alert shows. Passwords, tokens and keys are masked in them
        where they can be recognised; 0 publishes none.
      '';
    };

    secretPatterns = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "acme-[0-9a-f]{32}" ];
      description = ''
        Other secrets to mask in these lines: regular expressions in the syntax of the [crate
        regex](https://docs.rs/regex/latest/regex/#syntax). If one has a group `(?P<secret>...)`, only that group is masked.
      '';
    };

    # On NixOS a shell finds no program by its short name.
    systemctl = lib.mkOption {
      type = lib.types.str;
      internal = true;
      # system-manager does not have this option: it uses Debian's systemd.
      default =
        if options.systemd ? package then
          "${config.systemd.package}/bin/systemctl"
        else
          "/usr/bin/systemctl";
      description = "The program that lists the failed units.";
    };
  };

  config = lib.mkIf reporter.enable (
    lib.mkMerge [
      {
        services.natsMatrix.settings.publish = lib.mapAttrs (_: lib.mkDefault) (dropNull {
          inherit (reporter) disks host;
          report_subject = reporter.reportSubject;
          alert_subject = reporter.alertSubject;
          journal_lines = reporter.journalLines;
          secret_patterns = reporter.secretPatterns;
        });

        systemd.services.nats-matrix-report = lib.mkMerge [
          publisher
          {
            description = "Report of this machine on NATS";
            serviceConfig = {
              # The D-Bus of Debian 12 rejects dynamic users. So root makes this list, and nothing else, without
              # overwriting anything. If systemctl fails there is no list, and if the disk is full its end is missing;
              # the report says so in both cases.
              RuntimeDirectory = "nats-matrix-report";
              ExecStartPre =
                "-+/bin/sh -Cc 'umask 022 && units=$$(${reporter.systemctl} list-units --state=failed --plain --no-legend --full)"
                + " && printf \"%%s\\n\" \"$$units\" >${failedUnits}'";
              ExecStart = "${program} report --failed-units ${failedUnits}";
              TimeoutStartSec = "2min";
            };
          }
        ];

        systemd.timers.nats-matrix-report = {
          description = "Reports of this machine on NATS";
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = reporter.interval;
            # A report that was missed while the machine was off is published after the next start.
            Persistent = true;
            RandomizedDelaySec = "5min";
            FixedRandomDelay = true;
          };
        };

        systemd.services."nats-matrix-alert@" = lib.mkMerge [
          publisher
          {
            description = "Alert on NATS that %i has failed";
            serviceConfig = {
              # While NATS is unreachable it retries for an hour, so that an alert need not wait for the next report. An
              # alert that waits longer is sent with that report.
              ExecStart = "${program} alert --unit %i --timeout 1h";
              TimeoutStartSec = "65min";
              # To read the unit's last journal lines.
              SupplementaryGroups = [ "systemd-journal" ];
              # When memory runs out, somebody has to deliver the alert about it.
              OOMScoreAdjust = -500;
            };
          }
        ];
      }

      # If the bridge is enabled, its configuration already has these settings.
      (lib.mkIf (!cfg.enable) {
        environment.systemPackages = [ cfg.package ];
        environment.etc."nats-matrix/config.toml".source = checkedConfigFile;
      })
    ]
  );
}
