{ nodes, ... }:
{
  constants = {
    CHANGE = "/run/current-system/specialisation/changed/bin/switch-to-configuration test 2>&1";
    CHANGE_IS_SWITCH = true;
  };

  nodes = {
    inherit (nodes) hub;
    server = {
      imports = [ nodes.server ];
      system.switch.enable = true;
      specialisation.changed.configuration.services.natsMatrix = {
        users.bob.displayName = "Bob";
        rooms.ops = {
          topic = "What the servers say";
          invite = [ "bob" ];
          post = "bridge";
        };
      };
    };
  };
}
