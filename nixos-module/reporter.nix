# Reports of this machine, and alerts about its units that fail. It needs NATS alone: no other part of nats-matrix has to
# be on the machine.
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

  # Read by the program itself, which prints what it would publish.
  checkedConfigFile = acceptedBy pkgs "nats-matrix-checked.toml" (
    file: "${program} report --dry-run --config ${file}"
  ) (format.generate "nats-matrix.toml" cfg.settings);

  # What both units have in common. One user, so that they share what waits for NATS.
  publisher = {
    documentation = [ "https://github.com/nats-matrix/nats-matrix#publishing" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    path = lib.mkForce [ ];
    # For systemctl and journalctl, wherever this system has them.
    environment.PATH = "/run/current-system/systemd/bin:/usr/bin:/bin";
    # Nothing is published because the declaration has changed.
    restartIfChanged = false;
    serviceConfig = sandbox // {
      Type = "oneshot";
      User = "nats-matrix-publish";
      StateDirectory = "nats-matrix-publish";
      StateDirectoryMode = "0700";
      LoadCredential = loadCredentials (credentialPaths cfg natsFiles);
      MemoryMax = "100M";
      # Memory, load and the time since the start are there.
      ProcSubset = "all";
      # An empty directory in place of /home would be an empty disk.
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
        Whether this machine publishes reports of itself, by `nats-matrix-report.timer`, and has the template
        `nats-matrix-alert@.service`, which publishes that a unit has failed: `OnFailure=nats-matrix-alert@%n.service`. It
        needs {option}`services.natsMatrix.nats`, and not {option}`services.natsMatrix.enable`.
      '';
    };

    interval = lib.mkOption {
      type = lib.types.str;
      default = "hourly";
      example = "*:0/15";
      description = "When to report, as in {manpage}`systemd.time(7)`. Machines spread over five minutes after that.";
    };

    host = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "server-01";
      description = "What this machine is called, instead of its host name.";
    };

    disks = lib.mkOption {
      type = lib.types.nonEmptyListOf lib.types.path;
      default = [ "/" ];
      example = [
        "/"
        "/var"
      ];
      description = "Where file systems are mounted of which to say how full they are.";
    };

    reportSubject = lib.mkOption {
      type = lib.types.str;
      default = "ops.report";
      example = "fleet.report";
      description = "Reports are published under this and the name of the machine: `ops.report.server-01`.";
    };

    alertSubject = lib.mkOption {
      type = lib.types.str;
      default = "ops.alert";
      example = "fleet.alert";
      description = "The same for alerts.";
    };

    journalLines = lib.mkOption {
      type = lib.types.ints.between 0 200;
      default = 20;
      example = 0;
      description = ''
        How many of the last lines that a failed unit has written in the journal its alert shows. Passwords, tokens and
        keys are masked in them where they can be recognised; 0 publishes none.
      '';
    };

    secretPatterns = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "acme-[0-9a-f]{32}" ];
      description = ''
        What else to mask in these lines: regular expressions as the [crate
        regex](https://docs.rs/regex/latest/regex/#syntax) has them. Of one with a group `(?P<secret>...)` only that is
        masked.
      '';
    };

    # A shell of NixOS finds no program by a short name.
    systemctl = lib.mkOption {
      type = lib.types.str;
      internal = true;
      # system-manager has no such option: systemd is Debian's there.
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
              # The D-Bus of Debian 12 turns away users that systemd makes up. So root asks, for this list alone, and
              # overwrites nothing. Where systemctl fails there is no list, and where the disk is full its end is
              # missing: the report says both.
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
            # What was missed while the machine was off is made up for.
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
              # While NATS is away it tries for an hour, so that an alert is not as late as the next report; what
              # waits longer goes with that.
              ExecStart = "${program} alert --unit %i --timeout 1h";
              TimeoutStartSec = "65min";
              # For the unit's last lines.
              SupplementaryGroups = [ "systemd-journal" ];
              # When memory runs out, somebody has to bring the alert about it.
              OOMScoreAdjust = -500;
            };
          }
        ];
      }

      # Else the bridge's configuration has this, too.
      (lib.mkIf (!cfg.enable) {
        environment.systemPackages = [ cfg.package ];
        environment.etc."nats-matrix/config.toml".source = checkedConfigFile;
      })
    ]
  );
}
