method = Nombre de usuario y contraseña
notes = Cada petición incluye el nombre de usuario y la contraseña (autenticación HTTP Basic). Use una dirección https para que nadie pueda leerlos por el camino.
basic-username = Nombre de usuario
basic-username-help = El nombre que le ha dado el destinatario. No puede contener dos puntos.
basic-username-colon = El nombre de usuario no puede contener dos puntos.
basic-password = Contraseña
basic-password-help = Se envía exactamente como la escriba aquí, espacios incluidos.
