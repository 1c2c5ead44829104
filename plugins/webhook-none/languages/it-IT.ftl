method = Senza autenticazione
notes = L’evento viene inviato così com’è. Il destinatario non può sapere chi l’ha inviato: scegliete questo metodo solo per una rete fidata o per un indirizzo che nessun altro conosce.
