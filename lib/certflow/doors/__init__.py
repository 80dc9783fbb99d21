"""Where people come in: the command line, the web application, and the interfaces of other packages."""
